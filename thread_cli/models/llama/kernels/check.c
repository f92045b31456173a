/* Checks what the kernels rely on: the structures of ggml, the formats, and the results of each path.
 *
 * Run before they are used for the first time in a process. A small graph is computed by them and by ggml's own CPU backend;
 * the results have to agree, and each path has to give the bits of the plain C in `reference.c`. */
#include "kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Assumptions about ggml that `abi.h` does not show at a glance. */
_Static_assert(sizeof(void *) == 8, "structures are laid out for 64 bits");
_Static_assert(offsetof(tensor, ne) == 16 && offsetof(tensor, nb) == 48, "dimensions");
_Static_assert(offsetof(tensor, op) == 80 && offsetof(tensor, op_params) == 84, "operation");
_Static_assert(offsetof(tensor, src) == 152 && offsetof(tensor, view_src) == 232, "operands");
_Static_assert(offsetof(tensor, data) == 248 && offsetof(tensor, name) == 256 && sizeof(tensor) == 336, "data");
_Static_assert(sizeof(formats[0].name) == 8, "a pointer");

typedef struct context context;
typedef struct {
    size_t size;
    void *memory;
    bool no_data;
} context_params;

extern context *ggml_init(context_params);
extern void ggml_free(context *);
extern size_t ggml_tensor_overhead(void);
extern size_t ggml_graph_overhead(void);
extern const char *ggml_type_name(int);
extern size_t ggml_type_size(int);
extern int64_t ggml_blck_size(int);
extern tensor *ggml_new_tensor_4d(context *, int, int64_t, int64_t, int64_t, int64_t);
extern tensor *ggml_set_name(tensor *, const char *);
extern tensor *ggml_mul_mat(context *, tensor *, tensor *);
extern tensor *ggml_rms_norm(context *, tensor *, float);
extern tensor *ggml_mul(context *, tensor *, tensor *);
extern tensor *ggml_add(context *, tensor *, tensor *);
extern tensor *ggml_swiglu_split(context *, tensor *, tensor *);
extern tensor *ggml_flash_attn_ext(context *, tensor *, tensor *, tensor *, tensor *, float, float, float);
extern graph *ggml_new_graph(context *);
extern void ggml_build_forward_expand(graph *, tensor *);
extern buffer *ggml_backend_alloc_ctx_tensors_from_buft(context *, buffer_type *);
extern void ggml_backend_buffer_free(buffer *);
extern void ggml_backend_tensor_set(tensor *, const void *, size_t, size_t);
extern void ggml_backend_tensor_get(const tensor *, void *, size_t, size_t);
extern backend *ggml_backend_init_by_type(int, const char *);
extern void ggml_backend_free(backend *);
extern int ggml_backend_graph_compute(backend *, graph *);

registry *thread_kernels_open(int path);
void thread_kernels_set(registry *registry, bool loading, bool whole);
void thread_kernels_close(registry *registry);
int thread_kernels_multiply(int path, int type, int64_t rows, int64_t columns, const void *weights, int64_t tokens,
                            const float *activations, float *result);

enum { CPU = 0, OBJECT = 32, WIDTH = 512, OUT = 40, HEAD = 64, CELLS = 96 };

static char told[256]; /* what is wrong, in words */

static uint32_t next_random(uint32_t *state) { return (*state = *state * 1664525u + 1013904223u) >> 8; }

/* Numbers between -1 and 1. */
static void fill(float *to, int64_t count, uint32_t seed)
{
    for (int64_t i = 0; i < count; i++)
        to[i] = (float)(next_random(&seed) % 20001) / 10000.0f - 1.0f;
}

/* A matrix [rows][columns] as a file might have it: any bits, with scales near 0.01. */
static void fill_weights(enum kind kind, int64_t rows, int64_t columns, uint8_t *to, uint32_t state)
{
    const format *f = &formats[kind];
    for (int64_t block = 0; block < rows * (columns / f->columns); block++, to += f->bytes) {
        for (int i = 0; i < f->bytes; i++)
            to[i] = (uint8_t)next_random(&state);
        const uint16_t scale = (uint16_t)(0x2000 + next_random(&state) % 1024);
        if (f->group == 0)
            for (int i = 0; i < f->columns; i++)
                to[2 * i + 1] = kind == F16 ? (to[2 * i + 1] & 0x83) | 0x2c : (to[2 * i + 1] & 0x80) | 0x3c;
        else
            memcpy(to + (kind == Q6_K ? f->bytes - 2 : 0), &scale, sizeof scale);
        if (f->minima != NO_MINIMA)
            memcpy(to + 2, &scale, sizeof scale);
    }
}

/* Whether the fields of ggml's tensors are where `abi.h` has them. */
static bool structures_agree(void)
{
    if (ggml_tensor_overhead() != OBJECT + sizeof(tensor))
        return snprintf(told, sizeof told, "a tensor of ggml takes %zu bytes, not %zu", ggml_tensor_overhead() - OBJECT,
                        sizeof(tensor)), false;
    context *c = ggml_init((context_params){4 * ggml_tensor_overhead(), NULL, true});
    if (c == NULL)
        return snprintf(told, sizeof told, "memory is short"), false;
    tensor *a = ggml_new_tensor_4d(c, TYPE_F16, 3, 5, 7, 2), *b = ggml_rms_norm(c, a, 0.5f);
    ggml_set_name(a, "named");
    float epsilon;
    memcpy(&epsilon, b->op_params, sizeof epsilon);
    const bool same = a->type == TYPE_F16 && a->ne[0] == 3 && a->ne[1] == 5 && a->ne[2] == 7 && a->ne[3] == 2 &&
                      a->nb[0] == 2 && a->nb[1] == 6 && a->nb[3] == 210 && strcmp(a->name, "named") == 0 &&
                      b->src[0] == a && b->src[1] == NULL && epsilon == 0.5f &&
                      strcmp(ggml_op_name(b->op), "RMS_NORM") == 0;
    ggml_free(c);
    if (!same)
        snprintf(told, sizeof told, "the fields of ggml's tensors lie elsewhere");
    return same;
}

/* Whether ggml's formats have the names and sizes that `formats.c` has. */
static bool formats_agree(void)
{
    for (int kind = NO_FORMAT + 1; kind < KINDS; kind++) {
        const format *f = &formats[kind];
        if (strcmp(ggml_type_name(f->type), f->name) != 0 || ggml_type_size(f->type) * (f->columns / ggml_blck_size(f->type)) != (size_t)f->bytes)
            return snprintf(told, sizeof told, "ggml's type %d is not the %s that is known", f->type, f->name), false;
    }
    return true;
}

/* Whether a path gives the bits of the reference. */
static bool bits_agree(int path)
{
    static const int tokens[] = {1, 5, 8, 19};
    uint8_t *weights = malloc(OUT * WIDTH * 2);
    float *x = malloc(19 * WIDTH * sizeof *x), *wanted = malloc(19 * OUT * sizeof *wanted), *found = malloc(19 * OUT * sizeof *found);
    bool same = weights && x && wanted && found;
    if (!same)
        snprintf(told, sizeof told, "memory is short");
    for (int kind = NO_FORMAT + 1; same && kind < KINDS; kind++) {
        fill_weights(kind, OUT, WIDTH, weights, 7);
        fill(x, 19 * WIDTH, 3);
        const int type = formats[kind].type;
        same = thread_kernels_multiply(-1, type, OUT, WIDTH, weights, 19, x, wanted) == STATUS_SUCCESS;
        if (!same)
            snprintf(told, sizeof told, "memory is short");
        for (int i = 0; same && i < 4; i++) {
            const int status = thread_kernels_multiply(path, type, OUT, WIDTH, weights, tokens[i], x, found);
            same = status == STATUS_SUCCESS && memcmp(wanted, found, tokens[i] * OUT * sizeof *found) == 0;
            if (status != STATUS_SUCCESS)
                snprintf(told, sizeof told, "memory is short");
            else if (!same)
                snprintf(told, sizeof told, "path %d multiplies %s wrongly", path, formats[kind].name);
        }
    }
    free(weights), free(x), free(wanted), free(found);
    return same;
}

/* The root mean square of the differences, divided by the root mean square of the expected numbers. */
static double distance(const float *wanted, const float *found, int64_t count)
{
    double difference = 0, size = 1e-30;
    for (int64_t i = 0; i < count; i++) {
        difference += ((double)wanted[i] - found[i]) * ((double)wanted[i] - found[i]);
        size += (double)wanted[i] * wanted[i];
    }
    return sqrt(difference / size);
}

typedef struct {
    context *weights, *others; /* contexts of the matrices, and of all other tensors */
    buffer *buffers[2];        /* buffers in which the tensors lie */
    tensor *matrices[2];       /* [OUT][WIDTH] in the format that is tried */
    tensor *input;             /* f32 [tokens][WIDTH] */
    tensor *factors;           /* f32 [OUT] */
    tensor *keys, *values;     /* f16 [CELLS][HEAD] */
    tensor *queries;           /* f32 [2][tokens][HEAD] */
    tensor *mask;              /* f16 [64][CELLS] */
    tensor *results[4];        /* f32: a product and attention, [tokens][OUT] and [tokens][2][HEAD]; twice a gated product */
    graph *graph;
} sample;

/* A product, normalised, multiplied and added to; attention; a gated product, and the same once more where its parts are taken
 * by another operation too: with weights in buffers of a type. False where memory is short. */
static bool make(sample *s, enum kind kind, int tokens, buffer_type *weights, buffer_type *others)
{
    const size_t size = 32 * ggml_tensor_overhead() + ggml_graph_overhead();
    *s = (sample){.weights = ggml_init((context_params){size, NULL, true}), .others = ggml_init((context_params){size, NULL, true})};
    if (s->weights == NULL || s->others == NULL)
        return false;
    context *c = s->others;
    for (int i = 0; i < 2; i++)
        s->matrices[i] = ggml_new_tensor_4d(s->weights, formats[kind].type, WIDTH, OUT, 1, 1);
    s->input = ggml_new_tensor_4d(c, TYPE_F32, WIDTH, tokens, 1, 1);
    s->factors = ggml_new_tensor_4d(c, TYPE_F32, OUT, 1, 1, 1);
    s->queries = ggml_new_tensor_4d(c, TYPE_F32, HEAD, tokens, 2, 1);
    s->keys = ggml_new_tensor_4d(c, TYPE_F16, HEAD, CELLS, 1, 1);
    s->values = ggml_new_tensor_4d(c, TYPE_F16, HEAD, CELLS, 1, 1);
    s->mask = ggml_new_tensor_4d(c, TYPE_F16, CELLS, 64, 1, 1);
    tensor *normed = ggml_mul(c, ggml_rms_norm(c, ggml_mul_mat(c, s->matrices[0], s->input), 1e-5f), s->factors);
    s->results[0] = ggml_add(c, normed, normed);
    s->results[1] = ggml_flash_attn_ext(c, s->queries, s->keys, s->values, s->mask, 0.125f, 0, 0);
    tensor *gate = NULL, *other = NULL;
    for (int i = 2; i < 4; i++) {
        gate = ggml_mul_mat(c, s->matrices[0], s->input), other = ggml_mul_mat(c, s->matrices[1], s->input);
        s->results[i] = ggml_swiglu_split(c, gate, other);
    }
    s->graph = ggml_new_graph(c);
    for (int i = 0; i < 4; i++)
        ggml_build_forward_expand(s->graph, s->results[i]);
    ggml_build_forward_expand(s->graph, ggml_add(c, gate, other));
    s->buffers[0] = ggml_backend_alloc_ctx_tensors_from_buft(s->weights, weights);
    s->buffers[1] = ggml_backend_alloc_ctx_tensors_from_buft(s->others, others);
    return s->buffers[0] != NULL && s->buffers[1] != NULL;
}

/* Fill a tensor with numbers between -1 and 1; false where memory is short. */
static bool put_numbers(tensor *t, uint32_t seed, bool half)
{
    const int64_t count = t->ne[0] * t->ne[1] * t->ne[2];
    float *values = malloc(count * sizeof *values);
    if (values == NULL)
        return false;
    fill(values, count, seed);
    uint16_t *halves = (uint16_t *)values;
    /* Halves between 0.25 and 0.5 and their negatives: any bits of the fraction will do. */
    for (int64_t i = 0; half && i < count; i++)
        halves[i] = (uint16_t)((next_random(&seed) & 0x83ff) | 0x3400);
    ggml_backend_tensor_set(t, values, 0, count * (half ? sizeof *halves : sizeof *values));
    free(values);
    return true;
}

/* Fill all tensors of a sample; false where memory is short. */
static bool put(sample *s, enum kind kind)
{
    const size_t size = OUT * (WIDTH / formats[kind].columns) * formats[kind].bytes;
    uint8_t *weights = malloc(size);
    uint16_t mask[CELLS * 64];
    if (weights == NULL)
        return false;
    for (uint32_t i = 0; i < 2; i++) {
        fill_weights(kind, OUT, WIDTH, weights, 7 + i);
        ggml_backend_tensor_set(s->matrices[i], weights, 0, size);
    }
    free(weights);
    for (int t = 0; t < 64; t++)
        for (int c = 0; c < CELLS; c++)
            mask[t * CELLS + c] = c % 3 == 1 && c > t ? 0xfc00 : 0;
    ggml_backend_tensor_set(s->mask, mask, 0, sizeof mask);
    return put_numbers(s->input, 11, false) && put_numbers(s->factors, 12, false) && put_numbers(s->queries, 13, false) &&
           put_numbers(s->keys, 14, true) && put_numbers(s->values, 15, true);
}

static void let_go(sample *s)
{
    for (int i = 0; i < 2; i++)
        if (s->buffers[i])
            ggml_backend_buffer_free(s->buffers[i]);
    if (s->weights)
        ggml_free(s->weights);
    if (s->others)
        ggml_free(s->others);
}

/* Numbers of the results of a sample. */
static int64_t size_of(int result, int tokens) { return (int64_t)tokens * (result == 1 ? 2 * HEAD : OUT); }

/* Compute the sample: its results, one after another. False, and `told` has why, where it cannot be. */
static bool run(backend *backend, enum kind kind, int tokens, buffer_type *weights, buffer_type *others, float *to)
{
    sample s;
    bool done = make(&s, kind, tokens, weights, others) && put(&s, kind);
    if (!done)
        snprintf(told, sizeof told, "memory is short");
    if (done) {
        const int status = ggml_backend_graph_compute(backend, s.graph);
        done = status == STATUS_SUCCESS;
        if (!done)
            snprintf(told, sizeof told, "a small graph in %s cannot be computed (status %d)", formats[kind].name, status);
        for (int i = 0; i < 4; to += size_of(i++, tokens))
            ggml_backend_tensor_get(s.results[i], to, 0, size_of(i, tokens) * sizeof(float));
    }
    let_go(&s);
    return done;
}

/* Whether small graphs come to what ggml's own CPU backend makes of them, but for rounding. */
static bool graphs_agree(int path)
{
    enum { MOST = 20 };
    static const int tokens[] = {1, MOST};
    registry *registry = thread_kernels_open(path);
    backend *cpu = ggml_backend_init_by_type(CPU, NULL);
    float *wanted = malloc(MOST * (3 * OUT + 2 * HEAD) * sizeof *wanted);
    float *found = malloc(MOST * (3 * OUT + 2 * HEAD) * sizeof *found);
    device *device = registry ? registry->iface.get_device(registry, 0) : NULL;
    backend *ours = device ? device->iface.init_backend(device, NULL) : NULL;
    bool same = cpu && ours && wanted && found;
    if (!same)
        snprintf(told, sizeof told, "ggml gives no backend");
    else
        thread_kernels_set(registry, true, true);
    for (int kind = NO_FORMAT + 1; same && kind < KINDS; kind++)
        for (int i = 0; same && i < 2; i++) {
            buffer_type *weights = device->iface.get_buffer_type(device), *others = ggml_backend_cpu_buffer_type();
            same = run(cpu, kind, tokens[i], others, others, wanted) && run(ours, kind, tokens[i], weights, others, found);
            if (!same)
                break;
            int64_t at[4] = {0};
            for (int r = 1; r < 4; r++)
                at[r] = at[r - 1] + size_of(r - 1, tokens[i]);
            double apart[3];
            for (int r = 0; r < 3; r++)
                apart[r] = distance(wanted + at[r], found + at[r], size_of(r, tokens[i]));
            const bool one = memcmp(found + at[2], found + at[3], size_of(2, tokens[i]) * sizeof *found) == 0;
            same = apart[0] < 0.02 && apart[1] < 0.01 && apart[2] < 0.03 && one;
            if (!one)
                snprintf(told, sizeof told, "a gated product in %s has not the bits of its parts", formats[kind].name);
            else if (!same)
                snprintf(told, sizeof told, "a small graph in %s differs from ggml's: products by %.4f, attention by %.4f, gates by %.4f",
                         formats[kind].name, apart[0], apart[1], apart[2]);
        }
    if (ours)
        ggml_backend_free(ours);
    if (cpu)
        ggml_backend_free(cpu);
    if (registry)
        thread_kernels_close(registry);
    free(wanted), free(found);
    return same;
}

/* The fault of the kernels on this path, in words; NULL if there is none. */
const char *thread_kernels_check(int path)
{
    told[0] = '\0';
    return structures_agree() && formats_agree() && bits_agree(path) && graphs_agree(path) ? NULL : told;
}
