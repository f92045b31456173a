/* The kernels as llama.cpp sees them: an accelerator beside its CPU, which takes the operations that it can do.
 *
 * A graph is computed by one team of threads from its first operation to its last, with a barrier after each.
 *
 * Nothing here ends the process. Where memory is short, a graph's computation returns STATUS_ALLOC_FAILED; where llama.cpp asks
 * for something that a function of its interface cannot refuse, a fault is noted, `thread_kernels_fault` tells it, and all graphs from then
 * on return STATUS_FAILED. */
#include "kernels.h"

#include <omp.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#ifdef __x86_64__
#define PAUSE() __builtin_ia32_pause()
#else
#define PAUSE() ((void)0)
#endif

enum { PATIENCE = 600, ALIGNMENT = 64 };

static enum operation kinds[OPERATIONS];

/* Sleep until the phase is another one, and wake the threads that sleep. */
static void sleep_while(team *team, unsigned phase)
{
#ifdef __linux__
    atomic_fetch_add(&team->sleeping, 1);
    while (atomic_load(&team->phase) == phase)
        syscall(SYS_futex, &team->phase, FUTEX_WAIT_PRIVATE, phase, NULL, NULL, 0);
    atomic_fetch_sub(&team->sleeping, 1);
#else
    while (atomic_load(&team->phase) == phase)
        sched_yield();
#endif
}

static void wake(team *team)
{
#ifdef __linux__
    if (atomic_load(&team->sleeping) > 0)
        syscall(SYS_futex, &team->phase, FUTEX_WAKE_PRIVATE, team->count, NULL, NULL, 0);
#else
    (void)team;
#endif
}

void meet(team *team)
{
    const unsigned phase = atomic_load_explicit(&team->phase, memory_order_acquire);
    if (atomic_fetch_add(&team->arrived, 1) == team->count - 1) {
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        atomic_fetch_add(&team->phase, 1);
        wake(team);
        return;
    }
    for (int i = 0; i < PATIENCE; i++) {
        if (atomic_load_explicit(&team->phase, memory_order_acquire) != phase)
            return;
        PAUSE();
    }
    /* Where other threads want the processor, the late ones should have it. */
    sleep_while(team, phase);
}

void *grown(void *memory, size_t *size, size_t wanted)
{
    if (wanted <= *size)
        return memory;
    free(memory);
    *size = (wanted + wanted / 4 + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
    memory = aligned_alloc(ALIGNMENT, *size);
    if (memory == NULL)
        *size = 0;
    return memory;
}

/* ------------------------------------------------------------------------------------------------ weights */

/* One model's accelerator. It is offered to llama.cpp only while the model and its context are made, so that nothing else
 * in the process meets it. */
typedef struct {
    registry registry;   /* what ggml knows of it */
    device device;       /* the one that the registry has */
    buffer_type weights; /* type of the buffers that keep packed weights */
    bool loading;        /* a model is being loaded, not a context made */
    bool whole;          /* the model's operations are done here, not attention alone */
    bool refused;        /* an operation cannot be done here */
    size_t packed;       /* bytes of the file whose weights are kept here */
    enum path path;      /* path that computes products */
    const char *fault;   /* a request of llama.cpp that cannot be met, in words; NULL for none */
} accelerator;

static accelerator *of(device *device) { return device->context; }

static const char *weights_name(buffer_type *type) { return (void)type, "thread"; }
static size_t weights_alignment(buffer_type *type) { return (void)type, ALIGNMENT; }
static void weights_free(buffer *buffer) { free(buffer->context); }
static void *weights_base(buffer *buffer) { return buffer->context; }
static void weights_clear(buffer *buffer, uint8_t value) { memset(buffer->context, value, buffer->size); }

/* Note that something was asked for that packed weights cannot do. llama.cpp loads them as a whole and reads none of them back. */
static void note(buffer *buffer, const char *fault) { of(buffer->buft->device)->fault = fault; }

/* ggml's three ways to reach `size` bytes of a tensor, from `offset` on, as a file has them. */
static void weights_memset(buffer *buffer, tensor *t, uint8_t value, size_t offset, size_t size)
{
    if (packs(t))
        note(buffer, "a part of the weights was to be filled");
    else
        memset(t->data + offset, value, size);
}

static void weights_put(buffer *buffer, tensor *t, const void *data, size_t offset, size_t size)
{
    if (!packs(t))
        memcpy(t->data + offset, data, size);
    else if (offset == 0 && size == t->nb[1] * t->ne[1])
        pack(t, data), of(buffer->buft->device)->packed += size;
    else
        note(buffer, "a part of the weights was loaded by itself");
}

static void weights_get(buffer *buffer, const tensor *t, void *data, size_t offset, size_t size)
{
    if (!packs(t))
        memcpy(data, t->data + offset, size);
    else
        memset(data, 0, size), note(buffer, "weights were read back");
}

/* Bytes that a tensor takes in a buffer of weights. */
static size_t weights_size(buffer_type *type, const tensor *t)
{
    (void)type;
    return packs(t) ? packed_size(t) : t->nb[3] * t->ne[3];
}

/* A buffer for weights of `size` bytes; NULL where memory is short. */
static buffer *weights_allocate(buffer_type *type, size_t size)
{
    enum { PAGE = 1 << 21 };
    const size_t wanted = (size + PAGE) / PAGE * PAGE;
    void *memory = aligned_alloc(PAGE, wanted);
    if (memory == NULL)
        return NULL;
    /* Weights are read from one end to the other at every step: large pages spare looking up where they lie. */
    madvise(memory, wanted, MADV_HUGEPAGE);
    const buffer_i iface = {.free_buffer = weights_free,
                            .get_base = weights_base,
                            .memset_tensor = weights_memset,
                            .set_tensor = weights_put,
                            .get_tensor = weights_get,
                            .clear = weights_clear};
    return ggml_backend_buffer_init(type, iface, memory, size);
}

/* Whether a tensor lies in a buffer of weights. */
static bool is_ours(const tensor *t) { return t->buffer != NULL && t->buffer->buft->iface.get_name == weights_name; }

/* ------------------------------------------------------------------------------------------------ graphs */

enum operation kind_of(const tensor *t) { return t->op < OPERATIONS ? kinds[t->op] : OTHER; }

static bool is_silu(const tensor *t) { return t->op_params[0] == GLU_SWIGLU; }
static bool is_gelu(const tensor *t) { return t->op_params[0] == GLU_GEGLU; }
static bool is_tanh(const tensor *t) { return t->op_params[0] == UNARY_TANH; }

/* Whether a tensor is known before a graph is computed. */
static bool is_given(const tensor *t) { return kind_of(t) == NOTHING; }

/* Whether a tensor and its first two operands are f32, with rows in one piece each. */
static bool all_f32(const tensor *t)
{
    for (int i = 0; i < 2; i++)
        if (t->src[i] != NULL && (t->src[i]->type != TYPE_F32 || t->src[i]->nb[0] != sizeof(float) || is_ours(t->src[i])))
            return false;
    return t->type == TYPE_F32 && t->nb[0] == sizeof(float);
}

/* Whether an operation can be done here; only attention and products of packed weights unless `whole`. */
static bool supports(const tensor *t, const bool whole)
{
    switch (kind_of(t)) {
    case NOTHING: return true;
    case MUL_MAT:
        return is_ours(t->src[0]) && packs(t->src[0]) && t->src[1]->type == TYPE_F32 && t->src[1]->nb[0] == sizeof(float) &&
               t->src[1]->ne[2] == 1 && t->src[1]->ne[3] == 1 && t->type == TYPE_F32;
    case ATTENTION: return attends(t);
    case RMS_NORM: return whole && all_f32(t);
    case MUL:
    case ADD: return whole && all_f32(t) && t->src[0]->ne[0] == t->ne[0] && t->src[1]->ne[0] == t->ne[0];
    case ROPE: return whole && turnable(t) && is_given(t->src[1]) && (t->src[2] == NULL || is_given(t->src[2]));
    case SET_ROWS:
        return whole && t->src[0]->type == TYPE_F32 && t->type == TYPE_F16 && rows_of(t->src[0]) == t->src[0]->ne[1] &&
               (t->src[1]->type == TYPE_I64 || t->src[1]->type == TYPE_I32);
    case GET_ROWS:
        return whole && t->src[0]->type == TYPE_F32 && !is_ours(t->src[0]) && t->type == TYPE_F32 &&
               t->src[1]->type == TYPE_I32 && rows_of(t) == t->ne[1];
    case GLU: return whole && (is_silu(t) || is_gelu(t)) && t->src[1] != NULL && all_f32(t);
    case SCALE: return whole && all_f32(t);
    case UNARY: return whole && is_tanh(t) && all_f32(t);
    default: return false;
    }
}

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

/* Note where the tokens of a graph will lie in the memories, and at which positions. False where memory is short. */
static bool locate_all(state *state, graph *graph)
{
    const tensor *positions = NULL, *places = NULL;
    for (int i = 0; i < state->sight_count; i++)
        state->sights[i].mask = NULL, state->sights[i].looked = false;
    state->turn_count = 0;
    for (int i = 0; i < ggml_graph_n_nodes(graph); i++) {
        const tensor *t = ggml_graph_node(graph, i);
        if (kind_of(t) == ROPE) {
            if (!add_turns(state, t))
                return false;
            positions = t->src[1];
        }
        if (kind_of(t) == SET_ROWS)
            places = t->src[1]->type == TYPE_I64 ? t->src[1] : NULL;
        if (kind_of(t) == ATTENTION) {
            sight *sight = sight_of(state, t);
            if (sight == NULL)
                return false;
            if (sight->mask == NULL) {
                sight->mask = t->src[3];
                if (!locate(sight, places, positions, (int)t->src[1]->ne[1]))
                    return false;
            }
        }
    }
    return true;
}

/* Have all memory that the operations of a graph need, but for lists of cells (`look`). False where memory is short. */
static bool prepare(state *state, graph *graph)
{
    const int nodes = ggml_graph_n_nodes(graph);
    const size_t next = nodes * sizeof *state->next;
    size_t shared = 0, own = 0;
    for (int i = 0; i < nodes; i++) {
        const tensor *t = ggml_graph_node(graph, i);
        if (kind_of(t) == MUL_MAT)
            shared = most(shared, matmul_shared(t, state->path)), own = most(own, product_own());
        if (kind_of(t) == ATTENTION) {
            shared = most(shared, attention_shared(t));
            own = most(own, (attention_own(t) + ALIGNMENT) / ALIGNMENT * ALIGNMENT);
        }
    }
    state->shared = grown(state->shared, &state->shared_size, shared);
    if (own > state->own_size || state->threads > state->own_threads) {
        size_t had = 0;
        own = most(own, state->own_size);
        free(state->own);
        state->own = grown(NULL, &had, own * state->threads);
        state->own_size = state->own ? own : 0;
        state->own_threads = state->own ? state->threads : 0;
    }
    state->next = grown(state->next, &state->next_size, next);
    if (state->shared_size < shared || state->own_size < own || state->next_size < next)
        return false;
    memset(state->next, 0, next);
    return find_gates(state, graph) && locate_all(state, graph);
}

/* One thread's part in an operation, up to the barrier after it. False, for all threads, where memory is short. */
static bool compute(part *part, const tensor *t, enum role role)
{
    state *state = part->state;
    switch (role == LEFT_OUT ? NOTHING : kind_of(t)) {
    case MUL_MAT: matmul(part, t); break;
    case ATTENTION:
        if (part->index == 0 && !sight_of(state, t)->looked)
            state->short_of_memory = !look(sight_of(state, t), (int)t->src[1]->ne[1], (int)t->src[0]->ne[1]);
        meet(part->team);
        if (state->short_of_memory)
            return false;
        attention(part, t);
        break;
    case RMS_NORM: rms_norm(part, t); break;
    case MUL: combine(part, t, true); break;
    case ADD: combine(part, t, false); break;
    case ROPE: rope(part, t); break;
    case SET_ROWS: set_rows(part, t); break;
    case GET_ROWS: get_rows(part, t); break;
    case GLU: role == GATED ? gated_matmul(part, t, is_gelu(t)) : glu(part, t, is_gelu(t)); break;
    case SCALE: scale(part, t); break;
    case UNARY: hyperbolic_tangent(part, t); break;
    default: return true;
    }
    meet(part->team);
    return true;
}

/* A graph, from its first operation to its last; one of ggml's statuses. */
static int compute_graph(backend *backend, graph *graph)
{
    state *state = backend->context;
    const int nodes = ggml_graph_n_nodes(graph);
    if (of(backend->device)->fault != NULL)
        return STATUS_FAILED;
    if (!prepare(state, graph))
        return STATUS_ALLOC_FAILED;
    state->short_of_memory = false;
    team team = {0};
#pragma omp parallel num_threads(state->threads)
    {
#pragma omp single
        team.count = omp_get_num_threads();
        part part = {.state = state, .team = &team, .index = omp_get_thread_num()};
        part.own = state->own + part.index * state->own_size;
        compute_turns(&part);
        meet(&team);
        bool goes_on = true;
        for (int i = 0; goes_on && i < nodes; i++) {
            part.next = state->next + i;
            goes_on = compute(&part, ggml_graph_node(graph, i), state->roles[i]);
        }
        amx_end();
    }
    return state->short_of_memory ? STATUS_ALLOC_FAILED : STATUS_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------ registration */

static const char *backend_name(backend *backend) { return (void)backend, "thread"; }

static void backend_free(backend *backend)
{
    state *state = backend->context;
    for (int i = 0; i < state->sight_count; i++)
        look_away(&state->sights[i]);
    for (int i = 0; i < state->turn_capacity; i++)
        free(state->turns[i].values);
    free(state->roles), free(state->takers);
    free(state->sights), free(state->turns), free(state->shared), free(state->own), free(state->next);
    free(state), free(backend);
}

static void set_threads(backend *backend, int threads) { ((state *)backend->context)->threads = threads; }

static backend *open_backend(device *device, const char *parameters)
{
    static uint8_t identity[16] = "thread kernels";
    (void)parameters;
    backend *made = calloc(1, sizeof *made);
    state *state = calloc(1, sizeof *state);
    if (made == NULL || state == NULL)
        return free(made), free(state), NULL;
    state->threads = 1;
    state->path = of(device)->path;
    made->guid = identity;
    made->iface.get_name = backend_name, made->iface.free = backend_free, made->iface.graph_compute = compute_graph;
    made->device = device;
    made->context = state;
    return made;
}

static const char *device_name(device *device) { return (void)device, "thread"; }
static const char *device_description(device *device) { return (void)device, "attention over shared memory"; }
static int device_type(device *device) { return (void)device, DEVICE_ACCEL; }

static bool device_supports(device *device, const tensor *t)
{
    const bool supported = supports(t, of(device)->whole);
    /* Rows taken out of the vocabulary are copied by llama.cpp; they depend on nothing else. */
    if (!supported && kind_of(t) != GET_ROWS)
        of(device)->refused = true;
    return supported;
}

static void device_memory(device *device, size_t *available, size_t *total)
{
    (void)device;
    *available = *total = 0;
}

static void device_describe(device *device, device_props *props)
{
    *props = (device_props){.name = device_name(device), .description = device_description(device), .type = DEVICE_ACCEL};
}

/* llama.cpp asks for one type of buffer, for weights and for all else: while a model is loaded it gets the first. */
static buffer_type *device_buffers(device *device)
{
    return of(device)->loading ? &of(device)->weights : ggml_backend_cpu_buffer_type();
}

static bool device_takes(device *device, buffer_type *type)
{
    return type == &of(device)->weights || ggml_backend_buft_is_host(type);
}

static const char *registry_name(registry *registry) { return (void)registry, "thread"; }
static size_t registry_count(registry *registry) { return (void)registry, 1; }
static device *registry_device(registry *registry, size_t index) { return (void)index, &((accelerator *)registry->context)->device; }

static void *registry_function(registry *registry, const char *name)
{
    (void)registry;
    return strcmp(name, "ggml_backend_set_n_threads") == 0 ? (void *)set_threads : NULL;
}

static void learn_operations(void)
{
    static const struct {
        const char *name;
        enum operation kind;
    } known[] = {
        {"NONE", NOTHING},       {"RESHAPE", NOTHING},      {"VIEW", NOTHING},
        {"PERMUTE", NOTHING},    {"TRANSPOSE", NOTHING},    {"MUL_MAT", MUL_MAT},
        {"RMS_NORM", RMS_NORM},  {"MUL", MUL},              {"ADD", ADD},
        {"ROPE", ROPE},          {"SET_ROWS", SET_ROWS},    {"GET_ROWS", GET_ROWS},
        {"GLU", GLU},            {"FLASH_ATTN_EXT", ATTENTION}, {"SCALE", SCALE},
        {"UNARY", UNARY},
    };
    for (int op = 0; op < OPERATIONS; op++)
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (strcmp(ggml_op_name(op), known[i].name) == 0)
                kinds[op] = known[i].kind;
}

/* ------------------------------------------------------------------------------------------------ for Python */

/* The path that this processor is best served by; -1 if it has none. Not to be called before `amx_permitted` may be. */
int thread_kernels_path(void) { return !has_vnni() ? -1 : amx_permitted() ? PATH_AMX : PATH_VNNI; }

/* An accelerator for one model, whose products one of the paths computes, to be registered with ggml; NULL where memory
 * is short. */
registry *thread_kernels_open(int path)
{
    accelerator *made = calloc(1, sizeof *made);
    if (made == NULL)
        return NULL;
    learn_operations();
    made->path = path;
    made->registry = (registry){
        .api_version = API_VERSION,
        .iface = {registry_name, registry_count, registry_device, registry_function},
        .context = made,
    };
    made->device = (device){
        .iface = {.get_name = device_name,
                  .get_description = device_description,
                  .get_memory = device_memory,
                  .get_type = device_type,
                  .get_props = device_describe,
                  .init_backend = open_backend,
                  .get_buffer_type = device_buffers,
                  .supports_op = device_supports,
                  .supports_buft = device_takes},
        .reg = &made->registry,
        .context = made,
    };
    made->weights = (buffer_type){
        .iface = {.get_name = weights_name, .alloc_buffer = weights_allocate, .get_alignment = weights_alignment,
                  .get_alloc_size = weights_size},
        .device = &made->device,
    };
    return &made->registry;
}

/* Say what llama.cpp does next: it loads a model, whose weights are kept here where they can be, or it makes contexts, which have
 * all their operations done here (`whole`), or attention alone. */
void thread_kernels_set(registry *registry, bool loading, bool whole)
{
    accelerator *accelerator = registry->context;
    accelerator->loading = loading;
    accelerator->whole = whole;
    accelerator->refused = false;
}

/* Whether nothing that llama.cpp has asked for since then was refused, but for the rows of the vocabulary. */
bool thread_kernels_complete(registry *registry) { return !((accelerator *)registry->context)->refused; }

/* How many bytes of the model's file are weights that are kept here. */
size_t thread_kernels_packed(registry *registry) { return ((accelerator *)registry->context)->packed; }

/* A request of llama.cpp that cannot be met, in words; NULL for none. Graphs fail after one. */
const char *thread_kernels_fault(registry *registry) { return ((accelerator *)registry->context)->fault; }

/* For tests and for the check at load: one product, by one of the paths, or by the reference (-1). Weights [rows][columns] are
 * as files have them, activations f32 [tokens][columns] and results f32 [tokens][rows]. STATUS_SUCCESS, STATUS_FAILED where
 * `type` is not known, or does not divide the columns, or STATUS_ALLOC_FAILED. */
int thread_kernels_multiply(int path, int type, int64_t rows, int64_t columns, const void *weights, int64_t tokens,
                             const float *activations, float *result)
{
    const enum kind kind = kind_of_type(type);
    if (kind == NO_FORMAT || columns % formats[kind].columns)
        return STATUS_FAILED;
    if (path < 0)
        return reference_multiply(kind, rows, columns, weights, tokens, activations, result) ? STATUS_SUCCESS
                                                                                            : STATUS_ALLOC_FAILED;
    product p = {.kind = kind,
                 .path = path,
                 .rows = rows,
                 .columns = columns,
                 .tokens = tokens,
                 .activations = (const char *)activations,
                 .stride = columns * sizeof(float),
                 .together = together_for(path, tokens),
                 .rounding = rounding_of(kind, columns),
                 .result = (char *)result,
                 .result_stride = rows * sizeof(float)};
    const int64_t room = (tokens + p.together - 1) / p.together * p.together;
    const size_t wanted[] = {panels_of(rows) * panel_size(kind, columns), product_own(), room * p.rounding.size};
    size_t sizes[3] = {0};
    char *packed = grown(NULL, &sizes[0], wanted[0]), *own = grown(NULL, &sizes[1], wanted[1]);
    char *rounded = grown(NULL, &sizes[2], wanted[2]);
    if (sizes[0] < wanted[0] || sizes[1] < wanted[1] || sizes[2] < wanted[2])
        return free(packed), free(own), free(rounded), STATUS_ALLOC_FAILED;
    pack_panels(kind, rows, columns, weights, packed);
    for (int64_t t = 0; p.rounding.group && t < tokens; t++)
        round_activation(&p.rounding, activations + t * columns,
                         rounded + t / p.together * p.together * p.rounding.size, (int)(t % p.together), p.together);
    p.weights = (const uint8_t *)packed;
    if (p.rounding.group)
        p.activations = rounded;
    multiply(&p, 0, panels_of(rows), own);
    amx_end();
    free(packed), free(own), free(rounded);
    return STATUS_SUCCESS;
}

/* Free an accelerator whose model and contexts have been freed. */
void thread_kernels_close(registry *registry) { free(registry->context); }
