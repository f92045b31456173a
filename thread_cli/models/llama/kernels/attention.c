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
enum { TOKENS = 32, TILE = 4, PER_SEGMENT = SEGMENT / CHUNK };

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

/* Transpose 16 by 16 numbers, f32, in registers. */
static void transpose(__m512 *r)
{
    __m512 a[16];
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        a[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a[i]), _mm512_castps_pd(a[i + 2])));
        r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a[i]), _mm512_castps_pd(a[i + 2])));
        r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a[i + 1]), _mm512_castps_pd(a[i + 3])));
        r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a[i + 1]), _mm512_castps_pd(a[i + 3])));
    }
    for (int i = 0; i < 4; i++) {
        a[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
        a[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
        a[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
        a[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_f32x4(a[i], a[i + 8], 0x88);
        r[i + 4] = _mm512_shuffle_f32x4(a[i + 4], a[i + 12], 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(a[i], a[i + 8], 0xdd);
        r[i + 12] = _mm512_shuffle_f32x4(a[i + 4], a[i + 12], 0xdd);
    }
}

/* Keys and values of the `count` cells of a chunk, f16, `k_stride` and `v_stride` bytes apart, in 32 bits: keys f32 [width][CHUNK],
 * with 0 for cells beyond them, values f32 [count][width]. */
static void widen(const char *k, size_t k_stride, const char *v, size_t v_stride, const int32_t *cells, int count,
                  int width, float *keys, float *values)
{
    for (int c = 0; c < CHUNK; c += 16)
        for (int d = 0; d < width; d += 16) {
            __m512 block[16];
            if (c < count) {
                for (int i = 0; i < 16; i++)
                    block[i] = c + i < count ? _mm512_cvtph_ps(_mm256_loadu_si256(
                                                   (const __m256i *)(k + cells[c + i] * k_stride + d * 2)))
                                             : _mm512_setzero_ps();
                transpose(block);
            } else {
                for (int i = 0; i < 16; i++)
                    block[i] = _mm512_setzero_ps();
            }
            for (int i = 0; i < 16; i++)
                _mm512_store_ps(keys + (d + i) * CHUNK + c, block[i]);
        }
    for (int c = 0; c < count; c++)
        for (int d = 0; d < width; d += 16)
            _mm512_store_ps(values + c * width + d,
                            _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(v + cells[c] * v_stride + d * 2))));
}

/* Factors of the scores: scale · q·k, or with a cap, cap · tanh(scale · q·k). */
typedef struct {
    float scale, cap;
} scoring;

/* Add to the partial results of `count` rows their weights [count][CHUNK] times the values [CHUNK][width] of cells `from` to
 * `until`, in `lanes` times 16 dimensions from `d` on. */
__attribute__((always_inline)) static inline void add_values(const float *values, int width, const row *rows, int d, int from,
                                                             int until, const float *weights, const int count,
                                                             const int lanes)
{
    __m512 sums[TILE][4];
    for (int i = 0; i < count; i++)
        for (int j = 0; j < lanes; j++)
            sums[i][j] = _mm512_load_ps(rows[i].partial + 16 + d + 16 * j);
    for (int c = from; c < until; c++) {
        __m512 value[4];
        for (int j = 0; j < lanes; j++)
            value[j] = _mm512_load_ps(values + c * width + d + 16 * j);
#pragma GCC unroll 4
        for (int i = 0; i < count; i++) {
            const __m512 weight = _mm512_set1_ps(weights[i * CHUNK + c]);
#pragma GCC unroll 4
            for (int j = 0; j < lanes; j++)
                sums[i][j] = _mm512_fmadd_ps(weight, value[j], sums[i][j]);
        }
    }
    for (int i = 0; i < count; i++)
        for (int j = 0; j < lanes; j++)
            _mm512_store_ps(rows[i].partial + 16 + d + 16 * j, sums[i][j]);
}

/* Add a chunk, keys [width][CHUNK] and values [CHUNK][width], to the partial results of `count` rows; `weights` has room for
 * [count][CHUNK]. */
__attribute__((always_inline)) static inline void add_chunk(const float *keys, const float *values, int width,
                                                            const row *rows, scoring scoring, float *weights,
                                                            const int count)
{
    __m512 scores[TILE][4];
    for (int i = 0; i < count; i++)
        for (int j = 0; j < 4; j++)
            scores[i][j] = _mm512_setzero_ps();
    for (int d = 0; d < width; d++) {
        __m512 key[4];
        for (int j = 0; j < 4; j++)
            key[j] = _mm512_load_ps(keys + d * CHUNK + 16 * j);
#pragma GCC unroll 4
        for (int i = 0; i < count; i++) {
            const __m512 query = _mm512_set1_ps(rows[i].query[d]);
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++)
                scores[i][j] = _mm512_fmadd_ps(query, key[j], scores[i][j]);
        }
    }
    int first = CHUNK, last = 0;
    for (int i = 0; i < count; i++) {
        const uint64_t seen = (~0ull >> (CHUNK - rows[i].until)) & (~0ull << rows[i].from);
        __m512 best = _mm512_set1_ps(-INFINITY);
        for (int j = 0; j < 4; j++) {
            scores[i][j] = _mm512_mul_ps(scores[i][j], _mm512_set1_ps(scoring.scale));
            if (scoring.cap != 0)
                scores[i][j] = _mm512_mul_ps(tanh_of(scores[i][j]), _mm512_set1_ps(scoring.cap));
            best = _mm512_mask_max_ps(best, (__mmask16)(seen >> 16 * j), best, scores[i][j]);
        }
        float *partial = rows[i].partial;
        const float before = partial[0], now = fmaxf(before, _mm512_reduce_max_ps(best));
        const __m512 fade = exp_of(_mm512_set1_ps(before - now));
        __m512 sum = _mm512_setzero_ps();
        for (int j = 0; j < 4; j++) {
            const __m512 weight = _mm512_maskz_mov_ps((__mmask16)(seen >> 16 * j),
                                                      exp_of(_mm512_sub_ps(scores[i][j], _mm512_set1_ps(now))));
            _mm512_store_ps(weights + i * CHUNK + 16 * j, weight);
            sum = _mm512_add_ps(sum, weight);
        }
        partial[0] = now;
        partial[1] = partial[1] * _mm512_cvtss_f32(fade) + _mm512_reduce_add_ps(sum);
        for (int d = 0; d < width; d += 16)
            _mm512_store_ps(partial + 16 + d, _mm512_mul_ps(_mm512_load_ps(partial + 16 + d), fade));
        first = rows[i].from < first ? rows[i].from : first;
        last = rows[i].until > last ? rows[i].until : last;
    }
    int d = 0;
    for (; d + 64 <= width; d += 64)
        add_values(values, width, rows, d, first, last, weights, count, 4);
    for (; d < width; d += 16)
        add_values(values, width, rows, d, first, last, weights, count, 1);
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

static int largest(int a, int b) { return a > b ? a : b; }
static int smallest(int a, int b) { return a < b ? a : b; }

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
    widen(k->data + kv * k->nb[2], k->nb[1], v->data + kv * v->nb[2], v->nb[1],
          sight->cells[leader] + j * CHUNK - sight->origin[leader], most, w->width, keys, values);
    int i = 0;
    for (; i + TILE <= count; i += TILE)
        add_chunk(keys, values, w->width, rows + i, w->scoring, weights, TILE);
    switch (count - i) {
    case 1: add_chunk(keys, values, w->width, rows + i, w->scoring, weights, 1); break;
    case 2: add_chunk(keys, values, w->width, rows + i, w->scoring, weights, 2); break;
    case 3: add_chunk(keys, values, w->width, rows + i, w->scoring, weights, 3); break;
    default: break;
    }
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
