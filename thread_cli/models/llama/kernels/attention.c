/* Attention over a KV memory that many sequences share.
 *
 * A token attends to its cells in the order of their positions, in chunks of 64. Tokens that have a chunk in common, of
 * one sequence or of several with a common prefix, and all heads that share keys, are computed together, so that keys and
 * values are read and widened to 32 bits once. Each 256 cells are added up by themselves, and these sums in order at the
 * end. Chunks and these segments begin at fixed positions, also where a sliding window begins in the midst of one: the
 * result for a token is the same, bit for bit, whatever other tokens are computed with it. */
#include "kernels.h"

#include <math.h>

#ifdef __x86_64__
#include "simd.h"

/* Tokens whose partial results are held at once, rows whose sums are in registers, and chunks of a segment. */
enum { TOKENS = 32, TILE = 6, PER_SEGMENT = SEGMENT / CHUNK };

/* Whether `attention` computes an operation: queries f32 [heads][tokens][width], keys and values f16 [kv heads][cells][width],
 * a mask f16 [tokens][cells], a width of up to 256 that 16 divides, no bias by position (ALiBi) and no sinks. */
bool attends(const tensor *t)
{
    const tensor *q = t->src[0], *k = t->src[1], *v = t->src[2], *mask = t->src[3];
    float bias;
    memcpy(&bias, t->op_params + 1, sizeof bias);
    return q->type == TYPE_F32 && k->type == TYPE_F16 && v->type == TYPE_F16 && mask != NULL && mask->type == TYPE_F16 &&
           t->src[4] == NULL && bias == 0 && q->ne[3] == 1 && k->ne[3] == 1 && mask->ne[2] == 1 && mask->ne[3] == 1 &&
           k->ne[0] == v->ne[0] && k->ne[0] % 16 == 0 && k->ne[0] <= 256 && k->nb[0] == 2 && v->nb[0] == 2 &&
           k->ne[2] == v->ne[2] && q->ne[2] % k->ne[2] == 0 && q->nb[0] == 4;
}

/* Numbers (f32) of a partial result, the state of a head of a token after a segment: the largest score, the sum of the
 * weights e^(score - largest), 14 unused, and the weighted sum of the values [width]. */
static int partial_size(int width) { return 16 + width; }

/* Segments that `cells` cells in order lie in, wherever they begin. */
static int segments_of(int cells) { return (cells + SEGMENT - 1) / SEGMENT + 1; }

static int largest(int a, int b) { return a > b ? a : b; }
static int smallest(int a, int b) { return a < b ? a : b; }

/* One row of a chunk: a head of a token, which sees its cells `from` to `until`, at least one. */
typedef struct {
    const float *query; /* [width] */
    float *partial;     /* the partial result that the chunk is added to */
    int from, until;    /* cells of the chunk */
} row;

/* Bytes for the partial results of TOKENS tokens: [tokens][heads][segments] of `partial_size` numbers. */
size_t attention_shared(const tensor *t)
{
    const tensor *q = t->src[0];
    return sizeof(float) * TOKENS * q->ne[2] * segments_of((int)t->src[1]->ne[1]) * partial_size((int)q->ne[0]);
}

/* Bytes for one thread's chunk: keys [width][CHUNK], values [CHUNK][width], weights [TILE][CHUNK], f32, and rows. */
size_t attention_own(const tensor *t)
{
    const size_t width = t->src[1]->ne[0], heads = t->src[0]->ne[2] / t->src[1]->ne[2];
    return sizeof(float) * (2 * CHUNK * width + TILE * CHUNK) + sizeof(row) * TOKENS * heads;
}

/* Transpose halves of 16 bits [16][32], in registers, to [16][2][16]: row i has columns i and 16 + i. */
static inline void transpose(__m512i *r)
{
    __m512i a[16];
    const __m512i even = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13), odd = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi16(r[i], r[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi16(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm512_unpacklo_epi32(a[i + j], a[i + j + 2]);
            r[i + 2 * j + 1] = _mm512_unpackhi_epi32(a[i + j], a[i + j + 2]);
        }
    for (int i = 0; i < 16; i += 8)
        for (int j = 0; j < 4; j++) {
            a[i + 2 * j] = _mm512_unpacklo_epi64(r[i + j], r[i + j + 4]);
            a[i + 2 * j + 1] = _mm512_unpackhi_epi64(r[i + j], r[i + j + 4]);
        }
    for (int j = 0; j < 8; j++) {
        r[j] = _mm512_permutex2var_epi64(a[j], even, a[j + 8]);
        r[j + 8] = _mm512_permutex2var_epi64(a[j], odd, a[j + 8]);
    }
}

/* Keys of `count` cells of a chunk, f16, `stride` bytes apart, in 32 bits and transposed: f32 [width][CHUNK], with any numbers
 * for cells beyond them. */
static void widen_keys(const char *k, size_t stride, const int32_t *cells, int count, int width, float *keys)
{
    for (int c = 0; c < count; c += 16)
        for (int d = 0; d < width; d += 32) {
            const __mmask32 inside = width - d >= 32 ? 0xffffffff : 0xffff;
            __m512i block[16];
            for (int i = 0; i < 16; i++)
                block[i] = _mm512_maskz_loadu_epi16(inside, k + cells[smallest(c + i, count - 1)] * stride + d * 2);
            transpose(block);
            for (int i = 0; i < 16; i++)
                _mm512_store_ps(keys + (d + i) * CHUNK + c, _mm512_cvtph_ps(_mm512_castsi512_si256(block[i])));
            for (int i = 0; i < 16 && d + 16 < width; i++)
                _mm512_store_ps(keys + (d + 16 + i) * CHUNK + c, _mm512_cvtph_ps(_mm512_extracti64x4_epi64(block[i], 1)));
        }
}

/* Values of the cells `from` to `until` of a chunk, f16, `stride` bytes apart, in 32 bits: f32 [CHUNK][width]. */
static void widen_values(const char *v, size_t stride, const int32_t *cells, int from, int until, int width, float *values)
{
    for (int c = from; c < until; c++)
        for (int d = 0; d < width; d += 16)
            _mm512_store_ps(values + c * width + d,
                            _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(v + cells[c] * stride + d * 2))));
}

/* Sums of products: to[i] = before + sum of factors[i][n] * vectors[n] for n in `from` to `until`, for `count` rows, in `lanes`
 * times 16 numbers; `before` is what `to` has if `adds`, else 0. Vectors begin `stride` numbers apart. */
INLINE void multiply_add(const float *const *factors, const float *vectors, int stride, int from, int until, float *const *to,
                         const bool adds, const int count, const int lanes)
{
    __m512 sums[TILE][4];
#pragma GCC unroll 6
    for (int i = 0; i < count; i++)
#pragma GCC unroll 4
        for (int j = 0; j < lanes; j++)
            sums[i][j] = adds ? _mm512_load_ps(to[i] + 16 * j) : _mm512_setzero_ps();
    for (int n = from; n < until; n++) {
        __m512 vector[4];
#pragma GCC unroll 4
        for (int j = 0; j < lanes; j++)
            vector[j] = _mm512_load_ps(vectors + (int64_t)n * stride + 16 * j);
#pragma GCC unroll 6
        for (int i = 0; i < count; i++) {
            const __m512 factor = _mm512_set1_ps(factors[i][n]);
#pragma GCC unroll 4
            for (int j = 0; j < lanes; j++)
                sums[i][j] = _mm512_fmadd_ps(factor, vector[j], sums[i][j]);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < count; i++)
#pragma GCC unroll 4
        for (int j = 0; j < lanes; j++)
            _mm512_store_ps(to[i] + 16 * j, sums[i][j]);
}

/* The same for any number of rows up to TILE, and of lanes up to 4. */
INLINE void multiply_add_any(const float *const *factors, const float *vectors, int stride, int from, int until,
                             float *const *to, const bool adds, int count, int lanes)
{
#define CASE(COUNT, LANES)                                                                                                     \
    case COUNT * 8 + LANES: multiply_add(factors, vectors, stride, from, until, to, adds, COUNT, LANES); break;
#define CASES(COUNT) CASE(COUNT, 1) CASE(COUNT, 2) CASE(COUNT, 3) CASE(COUNT, 4)
    switch (count * 8 + lanes) {
        CASES(1) CASES(2) CASES(3) CASES(4) CASES(5) CASES(6)
    default: break;
    }
}

/* Factors of the scores: scale · q·k, or with a cap, cap · tanh(scale · q·k). */
typedef struct {
    float scale, cap;
} scoring;

/* Add a chunk, keys [width][CHUNK] and values [CHUNK][width], to the partial results of `count` rows, at most TILE; `weights` has
 * room for [count][CHUNK]. */
static void add_chunk(const float *keys, const float *values, int width, const row *rows, scoring scoring, float *weights,
                      const int count)
{
    const float *factors[TILE];
    float *to[TILE];
    int first = CHUNK, last = 0;
    for (int i = 0; i < count; i++) {
        factors[i] = rows[i].query, to[i] = weights + i * CHUNK;
        first = smallest(first, rows[i].from), last = largest(last, rows[i].until);
    }
    multiply_add_any(factors, keys, CHUNK, 0, width, to, false, count, (last + 15) / 16);
    for (int i = 0; i < count; i++) {
        const uint64_t seen = (~0ull >> (CHUNK - rows[i].until)) & (~0ull << rows[i].from);
        __m512 scores[4], best = _mm512_set1_ps(-INFINITY);
        for (int j = 0; j < 4; j++) {
            scores[j] = _mm512_mul_ps(_mm512_load_ps(to[i] + 16 * j), _mm512_set1_ps(scoring.scale));
            if (scoring.cap != 0)
                scores[j] = _mm512_mul_ps(tanh_of(scores[j]), _mm512_set1_ps(scoring.cap));
            best = _mm512_mask_max_ps(best, (__mmask16)(seen >> 16 * j), best, scores[j]);
        }
        float *partial = rows[i].partial;
        const float before = partial[0], now = fmaxf(before, _mm512_reduce_max_ps(best));
        const __m512 fade = exp_of(_mm512_set1_ps(before - now));
        __m512 sum = _mm512_setzero_ps();
        for (int j = 0; j < 4; j++) {
            const __m512 weight = _mm512_maskz_mov_ps((__mmask16)(seen >> 16 * j),
                                                      exp_of(_mm512_sub_ps(scores[j], _mm512_set1_ps(now))));
            _mm512_store_ps(to[i] + 16 * j, weight);
            sum = _mm512_add_ps(sum, weight);
        }
        partial[0] = now;
        partial[1] = partial[1] * _mm512_cvtss_f32(fade) + _mm512_reduce_add_ps(sum);
        for (int d = 0; d < width; d += 16)
            _mm512_store_ps(partial + 16 + d, _mm512_mul_ps(_mm512_load_ps(partial + 16 + d), fade));
    }
    for (int d = 0; d < width; d += 64) {
        float *sums[TILE];
        for (int i = 0; i < count; i++)
            factors[i] = weights + i * CHUNK, sums[i] = rows[i].partial + 16 + d;
        multiply_add_any(factors, values + d, width, first, last, sums, true, count, smallest(width - d, 64) / 16);
    }
}

/* One thread's part in an operation of attention. */
typedef struct {
    const tensor *t;
    const sight *sight; /* which cells its tokens see */
    part *part;
    scoring scoring;
    int width;       /* width of a head */
    int heads;       /* heads that share keys and values */
    int first, last; /* tokens under way */
    int segments;    /* the most that one of these sees */
} work;

/* The segments that a token's cells lie in, numbered by position. */
static int first_segment(const sight *sight, int token) { return sight->from[token] / SEGMENT; }
static int end_segment(const sight *sight, int token)
{
    return sight->until[token] > sight->from[token] ? (sight->until[token] - 1) / SEGMENT + 1 : first_segment(sight, token);
}

/* The partial result of a head of a token after a segment. */
static float *partial_of(const work *w, int token, int head, int segment)
{
    const int64_t row = ((int64_t)(token - w->first) * w->t->src[0]->ne[2] + head) * w->segments;
    return (float *)w->part->state->shared + (row + segment - first_segment(w->sight, token)) * partial_size(w->width);
}

/* The group that stands for all that have the same cells in chunk `j` as this token; -1 if the token sees none of it. */
static int leader_of(const sight *sight, int token, int j)
{
    const int g = sight->group[token];
    if (sight->until[token] <= j * CHUNK || sight->from[token] >= (j + 1) * CHUNK)
        return -1;
    return sight->same[g][j - sight->origin[g] / CHUNK];
}

/* Chunk `j`, for all tokens that have the cells of group `leader` in it, and the heads that share `kv`. */
static void do_chunk(const work *w, int kv, int j, int leader)
{
    const tensor *q = w->t->src[0], *k = w->t->src[1], *v = w->t->src[2];
    const sight *sight = w->sight;
    float *keys = (float *)w->part->own, *values = keys + CHUNK * w->width, *weights = values + CHUNK * w->width;
    row *rows = (row *)(weights + TILE * CHUNK);
    int count = 0, most = 0;
    for (int t = w->first; t < w->last; t++) {
        if (leader_of(sight, t, j) != leader)
            continue;
        const int from = largest(sight->from[t] - j * CHUNK, 0), until = smallest(sight->until[t] - j * CHUNK, CHUNK);
        /* Whether it is the first of its segment that the token sees. */
        const bool begins = j * CHUNK <= largest(sight->from[t], j / PER_SEGMENT * SEGMENT);
        for (int h = kv * w->heads; h < (kv + 1) * w->heads; h++) {
            float *partial = partial_of(w, t, h, j / PER_SEGMENT);
            rows[count++] = (row){(const float *)(q->data + t * q->nb[1] + h * q->nb[2]), partial, from, until};
            if (begins) {
                memset(partial, 0, partial_size(w->width) * sizeof(float));
                partial[0] = -INFINITY;
            }
        }
        most = largest(most, until);
    }
    if (count == 0)
        return;
    const int32_t *cells = sight->cells[leader] + j * CHUNK - sight->origin[leader];
    widen_keys(k->data + kv * k->nb[2], k->nb[1], cells, most, w->width, keys);
    widen_values(v->data + kv * v->nb[2], v->nb[1], cells, 0, most, w->width, values);
    for (int i = 0; i < count; i += TILE)
        add_chunk(keys, values, w->width, rows + i, w->scoring, weights, smallest(count - i, TILE));
}

/* A segment, for all tokens under way and the heads that share `kv`. */
static void do_segment(const work *w, int kv, int segment)
{
    const sight *sight = w->sight;
    for (int j = segment * PER_SEGMENT; j < (segment + 1) * PER_SEGMENT; j++)
        for (int t = w->first, before = -1; t < w->last; t++) {
            const int leader = leader_of(sight, t, j);
            if (leader < 0 || leader == before)
                continue;
            before = leader;
            /* Once for each leader, at the first of its tokens. */
            int first = w->first;
            while (leader_of(sight, first, j) != leader)
                first++;
            if (first == t)
                do_chunk(w, kv, j, leader);
        }
}

/* Put together what the segments of one head of a token have come to: f32 [width] of the result. */
static void finish(const work *w, int token, int head)
{
    const int from = first_segment(w->sight, token), until = end_segment(w->sight, token);
    float best = -INFINITY, sum = 0;
    for (int s = from; s < until; s++)
        best = fmaxf(best, partial_of(w, token, head, s)[0]);
    float *result = (float *)(w->t->data + token * w->t->nb[2] + head * w->t->nb[1]);
    for (int d = 0; d < w->width; d += 16)
        _mm512_storeu_ps(result + d, _mm512_setzero_ps());
    for (int s = from; s < until; s++) {
        const float *partial = partial_of(w, token, head, s);
        const __m512 factor = exp_of(_mm512_set1_ps(partial[0] - best));
        sum += partial[1] * _mm512_cvtss_f32(factor);
        for (int d = 0; d < w->width; d += 16)
            _mm512_storeu_ps(result + d, _mm512_fmadd_ps(_mm512_load_ps(partial + 16 + d), factor, _mm512_loadu_ps(result + d)));
    }
    const __m512 share = _mm512_set1_ps(sum > 0 ? 1.0f / sum : 0.0f);
    for (int d = 0; d < w->width; d += 16)
        _mm512_storeu_ps(result + d, _mm512_mul_ps(_mm512_loadu_ps(result + d), share));
}

/* softmax(scores) · values for each head of each token, over the cells that it sees: f32 [tokens][heads][width]. Shapes of the
 * operands are those that `attends` names. */
void attention(part *part, const tensor *t)
{
    const tensor *q = t->src[0], *k = t->src[1];
    const sight *sight = sight_of(part->state, t);
    work w = {.t = t, .sight = sight, .part = part, .width = (int)q->ne[0], .heads = (int)(q->ne[2] / k->ne[2])};
    memcpy(&w.scoring.scale, t->op_params, sizeof w.scoring.scale);
    memcpy(&w.scoring.cap, t->op_params + 2, sizeof w.scoring.cap);
    if (w.scoring.cap != 0)
        w.scoring.scale /= w.scoring.cap;
    part->rounded = NULL;
    /* Pieces are numbered through all blocks of tokens. */
    int done = 0, mine = taken(part);
    for (w.first = 0; w.first < q->ne[1]; w.first = w.last) {
        w.last = smallest(w.first + TOKENS, (int)q->ne[1]);
        int low = INT32_MAX, high = 0;
        w.segments = 0;
        for (int i = w.first; i < w.last; i++) {
            const int from = first_segment(sight, i), until = end_segment(sight, i);
            low = smallest(low, from), high = largest(high, until);
            w.segments = largest(w.segments, until - from);
        }
        const int pieces = (high - low) * (int)k->ne[2];
        for (; mine < done + pieces; mine = taken(part))
            do_segment(&w, (mine - done) % (int)k->ne[2], low + (mine - done) / (int)k->ne[2]);
        done += pieces;
        meet(part->team);
        const int rows = (w.last - w.first) * (int)q->ne[2];
        for (int row = part->index; row < rows; row += part->team->count)
            finish(&w, w.first + row / (int)q->ne[2], row % (int)q->ne[2]);
        if (w.last < q->ne[1])
            meet(part->team);
    }
}

#endif
