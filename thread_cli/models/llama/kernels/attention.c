/* Attention over a KV memory that many sequences share.
 *
 * A token attends to its cells in the order of their positions, in segments of 256, which consist of chunks of 64. In each
 * segment the scores of all cells come first, then their weights, relative to the largest score of the segment, then the
 * weighted sum of the values; the results of the segments are added up in order. Tokens that have a chunk in common, of one
 * sequence or of several with a common prefix, and all heads that share keys, are computed together, so that keys and
 * values are read and widened to 32 bits once. Chunks and segments begin at fixed positions, also where a sliding window
 * begins in the midst of one: the result for a token is the same, bit for bit, whatever other tokens are computed with it. */
#include "kernels.h"

#include <math.h>

#ifdef __x86_64__
#include "simd.h"

/* Rows whose sums are in registers at once, rows that a piece of work has (unless one token has more), chunks of a segment, and
 * the least rows of a piece that are worth the widening of its keys, and the most whose values are widened as they are used. */
enum { TILE = 6, TOGETHER = 192, PER_SEGMENT = SEGMENT / CHUNK, WORTH = 32, DIRECT = 8 * TILE };

/* Whether `attention` computes an operation: queries f32 [heads][tokens][width], keys and values f16 [kv heads][cells][width],
 * a mask f16 [tokens][cells], a width of up to 256 that 16 divides, a positive scale, no bias by position (ALiBi) and no sinks. */
bool attends(const tensor *t)
{
    const tensor *q = t->src[0], *k = t->src[1], *v = t->src[2], *mask = t->src[3];
    float scale, bias;
    memcpy(&scale, t->op_params, sizeof scale);
    memcpy(&bias, t->op_params + 1, sizeof bias);
    return q->type == TYPE_F32 && k->type == TYPE_F16 && v->type == TYPE_F16 && mask != NULL && mask->type == TYPE_F16 &&
           t->src[4] == NULL && scale > 0 && bias == 0 && q->ne[3] == 1 && k->ne[3] == 1 && mask->ne[2] == 1 && mask->ne[3] == 1 &&
           k->ne[0] == v->ne[0] && k->ne[0] % 16 == 0 && k->ne[0] <= 256 && k->nb[0] == 2 && v->nb[0] == 2 &&
           k->ne[2] == v->ne[2] && q->ne[2] % k->ne[2] == 0 && q->nb[0] == 4;
}

/* Numbers (f32) of a result, the state of a head of a token after some segments: the largest score, the sum of the weights
 * e^(score - largest), 14 unused, and the weighted sum of the values [width]. */
static int result_size(int width) { return 16 + width; }

/* Segments that `cells` cells in order lie in, wherever they begin. */
static int segments_of(int cells) { return (cells + SEGMENT - 1) / SEGMENT + 1; }

static int largest(int a, int b) { return a > b ? a : b; }
static int smallest(int a, int b) { return a < b ? a : b; }

/* The most tokens whose results are held at once, where `heads` heads share keys. */
static int most_together(int heads) { return largest(TOGETHER / heads, 1); }

/* One row of a segment: a head of a token, which sees its cells `from` to `until`, none if these are the same. */
typedef struct {
    const float *query; /* [width] */
    float *scores;      /* [SEGMENT] scores of the cells; later, their weights */
    float *result;      /* the result of the segment */
    int from, until;    /* cells of the segment */
} row;

/* Bytes for the results of tokens that threads compute together: [tokens][heads][segments] of `result_size` numbers. */
size_t attention_shared(const tensor *t)
{
    const tensor *q = t->src[0], *k = t->src[1];
    const int tokens = smallest(most_together((int)(q->ne[2] / k->ne[2])), (int)q->ne[1]);
    return sizeof(float) * tokens * q->ne[2] * segments_of((int)k->ne[1]) * result_size((int)q->ne[0]);
}

/* Bytes for one thread: keys [width][CHUNK], values [CHUNK][width], scores [rows][SEGMENT], two results for each row, f32; rows,
 * and the numbers of some rows and of the leaders of tokens. */
size_t attention_own(const tensor *t)
{
    const size_t width = t->src[1]->ne[0], heads = t->src[0]->ne[2] / t->src[1]->ne[2];
    const size_t rows = most_together((int)heads) * heads;
    return sizeof(float) * (2 * CHUNK * width + rows * (SEGMENT + 2 * result_size((int)width))) +
           rows * (sizeof(row) + 2 * sizeof(int));
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

/* Vectors that begin `stride` bytes apart: vector n is f32, number n, or if `cells` is not NULL, f16, number cells[n]. */
typedef struct {
    const char *data;
    size_t stride;
    const int32_t *cells;
} vectors;

/* Read the keys or values of the first cells of a chunk, so that they are near when they are wanted, or ask for them without
 * `waiting`. Processors foresee which cells come next where cells are read in order, as here, not as in a transposition. */
static void fetch(vectors cells, int count, int width, const bool waiting)
{
    for (int c = 0; c < count; c++)
        for (int d = 0; d < width; d += 32)
            if (waiting)
                (void)*(const volatile char *)(cells.data + cells.cells[c] * cells.stride + d * 2);
            else
                _mm_prefetch(cells.data + cells.cells[c] * cells.stride + d * 2, _MM_HINT_T1);
}

/* Keys of `count` cells of a chunk in 32 bits and transposed: f32 [width][CHUNK], with any numbers for cells beyond them. */
static void widen_keys(vectors k, int count, int width, float *keys)
{
    for (int c = 0; c < count; c += 16)
        for (int d = 0; d < width; d += 32) {
            const __mmask32 inside = width - d >= 32 ? 0xffffffff : 0xffff;
            __m512i block[16];
            for (int i = 0; i < 16; i++)
                block[i] = _mm512_maskz_loadu_epi16(inside, k.data + k.cells[smallest(c + i, count - 1)] * k.stride + d * 2);
            transpose(block);
            for (int i = 0; i < 16; i++)
                _mm512_store_ps(keys + (d + i) * CHUNK + c, _mm512_cvtph_ps(_mm512_castsi512_si256(block[i])));
            for (int i = 0; i < 16 && d + 16 < width; i++)
                _mm512_store_ps(keys + (d + 16 + i) * CHUNK + c, _mm512_cvtph_ps(_mm512_extracti64x4_epi64(block[i], 1)));
        }
}

/* Values of `count` cells of a chunk in 32 bits: f32 [count][width]. */
static void widen_values(vectors v, int count, int width, float *values)
{
    for (int c = 0; c < count; c++)
        for (int d = 0; d < width; d += 16)
            _mm512_store_ps(values + c * width + d,
                            _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(v.data + v.cells[c] * v.stride + d * 2))));
}

/* Sums of products: to[i] = before + sum of factors[i][n] * vector n for n in `from` to `until`, for `count` rows, in `lanes` times
 * 16 numbers; `before` is what `to` has if `adds`, else 0. */
INLINE void multiply_add(const float *const *factors, vectors vectors, int from, int until, float *const *to, const bool adds,
                         const bool halves, const int count, const int lanes)
{
    __m512 sums[TILE][4];
    for (int i = 0; i < count; i++)
        for (int j = 0; j < lanes; j++)
            sums[i][j] = adds ? _mm512_load_ps(to[i] + 16 * j) : _mm512_setzero_ps();
    for (int n = from; n < until; n++) {
        const char *at = vectors.data + (halves ? vectors.cells[n] : n) * vectors.stride;
        __m512 vector[4];
#pragma GCC unroll 4
        for (int j = 0; j < lanes; j++)
            vector[j] = halves ? _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at + j))
                               : _mm512_load_ps((const float *)at + 16 * j);
#pragma GCC unroll 6
        for (int i = 0; i < count; i++) {
            const __m512 factor = _mm512_set1_ps(factors[i][n]);
#pragma GCC unroll 4
            for (int j = 0; j < lanes; j++)
                sums[i][j] = _mm512_fmadd_ps(factor, vector[j], sums[i][j]);
        }
    }
    for (int i = 0; i < count; i++)
        for (int j = 0; j < lanes; j++)
            _mm512_store_ps(to[i] + 16 * j, sums[i][j]);
}

/* The same for any number of rows up to TILE, and of lanes up to 4. */
INLINE void multiply_add_any(const float *const *factors, vectors vectors, int from, int until, float *const *to,
                             const bool adds, const bool halves, int count, int lanes)
{
#define CASE(COUNT, LANES)                                                                                                     \
    case COUNT * 8 + LANES: multiply_add(factors, vectors, from, until, to, adds, halves, COUNT, LANES); break;
#define CASES(COUNT) CASE(COUNT, 1) CASE(COUNT, 2) CASE(COUNT, 3) CASE(COUNT, 4)
    switch (count * 8 + lanes) {
        CASES(1) CASES(2) CASES(3) CASES(4) CASES(5) CASES(6)
    default: break;
    }
}

/* For `count` rows, whose numbers are `picked`, write the products of queries and keys, f32 [width][CHUNK], to the scores, or if
 * `weighed`, add the weighted values [CHUNK][width], f32 or f16. Cell 0 of the chunk is cell `start` of the segment. */
static void add_chunk(vectors chunk, int width, int start, const row *rows, const int *picked, int count, const bool weighed)
{
    for (int i = 0; i < count; i += TILE) {
        const row *tile[TILE];
        const float *factors[TILE];
        float *to[TILE];
        const int together = smallest(count - i, TILE);
        int from = CHUNK, until = 0;
        for (int n = 0; n < together; n++) {
            tile[n] = rows + picked[i + n];
            factors[n] = weighed ? tile[n]->scores + start : tile[n]->query;
            from = smallest(from, largest(tile[n]->from - start, 0));
            until = largest(until, smallest(tile[n]->until - start, CHUNK));
        }
        if (!weighed) {
            from = from / 16 * 16;
            for (int n = 0; n < together; n++)
                to[n] = tile[n]->scores + start + from;
            const vectors seen = {chunk.data + from * sizeof(float), chunk.stride, NULL};
            multiply_add_any(factors, seen, 0, width, to, false, false, together, (until - from + 15) / 16);
        }
        vectors part = chunk;
        for (int d = 0; d < width && weighed; d += 64) {
            const int lanes = smallest(width - d, 64) / 16;
            for (int n = 0; n < together; n++)
                to[n] = tile[n]->result + 16 + d;
            if (chunk.cells != NULL)
                multiply_add_any(factors, part, from, until, to, true, true, together, lanes);
            else
                multiply_add_any(factors, part, from, until, to, true, false, together, lanes);
            part.data += 64 * (chunk.cells != NULL ? sizeof(uint16_t) : sizeof(float));
        }
    }
}

/* How the products of queries and keys become scores, the logarithms of weights: `scale` times the product, or with
 * a cap, `scale` times tanh of `inner` times the product. */
typedef struct {
    float scale, inner;
    bool capped;
} scoring;

/* Begin the result of a row with its largest score: products of queries and keys become scores but for a factor. */
static void begin_result(const row *row, scoring scoring)
{
    const int from = row->from / 16 * 16, until = (row->until + 15) / 16 * 16;
    const __m512 lowest = _mm512_set1_ps(-INFINITY);
    float *scores = row->scores, *first = scores + from, *last = scores + until - 16;
    if (scoring.capped)
        for (int c = from; c < until; c += 16)
            _mm512_store_ps(scores + c, tanh_of(_mm512_mul_ps(_mm512_load_ps(scores + c), _mm512_set1_ps(scoring.inner))));
    _mm512_store_ps(first, _mm512_mask_mov_ps(lowest, (__mmask16)(0xffff << (row->from - from)), _mm512_load_ps(first)));
    _mm512_store_ps(last, _mm512_mask_mov_ps(lowest, (__mmask16)(0xffff >> (until - row->until)), _mm512_load_ps(last)));
    __m512 best = lowest;
    for (int c = from; c < until; c += 16)
        best = _mm512_max_ps(best, _mm512_load_ps(scores + c));
    row->result[0] = _mm512_reduce_max_ps(best) * scoring.scale;
}

/* Turn the scores of a row into weights, with weight 0 for cells that are not seen in chunks that are, and add these up. */
static void weigh(const row *row, scoring scoring, int width)
{
    const int from = row->from / 16 * 16, until = (row->until + 15) / 16 * 16;
    const __m512 best = _mm512_set1_ps(row->result[0]), scale = _mm512_set1_ps(scoring.scale), zero = _mm512_setzero_ps();
    __m512 sums[4] = {zero, zero, zero, zero};
    for (int c = row->from / CHUNK * CHUNK; c < row->until; c += CHUNK)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            float *scores = row->scores + c + 16 * j;
            if (c + 16 * j < from || c + 16 * j >= until) {
                _mm512_store_ps(scores, zero);
                continue;
            }
            const __m512 score = _mm512_load_ps(scores);
            const __mmask16 seen = _mm512_cmp_ps_mask(score, _mm512_set1_ps(-INFINITY), _CMP_NEQ_UQ);
            const __m512 weight = _mm512_maskz_mov_ps(seen, exp_of(_mm512_fmsub_ps(score, scale, best)));
            _mm512_store_ps(scores, weight);
            sums[j] = _mm512_add_ps(sums[j], weight);
        }
    row->result[1] = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
    for (int d = 0; d < width; d += 16)
        _mm512_store_ps(row->result + 16 + d, zero);
}

/* Add the result of a segment to that of the segments before it. */
static void add_result(float *sum, const float *result, int width)
{
    const float best = fmaxf(sum[0], result[0]);
    const __m512 old = exp_of(_mm512_set1_ps(sum[0] - best)), new = exp_of(_mm512_set1_ps(result[0] - best));
    sum[0] = best;
    sum[1] = fmaf(result[1], _mm512_cvtss_f32(new), sum[1] * _mm512_cvtss_f32(old));
    for (int d = 16; d < 16 + width; d += 16)
        _mm512_store_ps(sum + d, _mm512_fmadd_ps(_mm512_load_ps(result + d), new,
                                                 _mm512_mul_ps(_mm512_load_ps(sum + d), old)));
}

/* One thread's part in an operation of attention. */
typedef struct {
    const tensor *t;
    const sight *sight; /* which cells its tokens see */
    scoring scoring;
    int width;                     /* width of a head */
    int heads;                     /* heads that share keys and values */
    int first, last;               /* tokens under way, at most `most_together` */
    float *keys, *values, *scores; /* [width][CHUNK], [CHUNK][width] and [tokens][heads][SEGMENT] */
    float *results;                /* [tokens][result_heads][segments] results; a token's later segments share the last place */
    int result_heads, segments;
    row *rows;             /* [tokens][heads] rows of a segment */
    int *picked, *leaders; /* [rows] rows that have a chunk in common, and [tokens] leaders in it */
} work;

/* The segments that a token's cells lie in, numbered by position. */
static int first_segment(const sight *sight, int token) { return sight->from[token] / SEGMENT; }
static int end_segment(const sight *sight, int token)
{
    return sight->until[token] > sight->from[token] ? (sight->until[token] - 1) / SEGMENT + 1 : first_segment(sight, token);
}

/* Find the segments that tokens under way see, from `low` to before `high`; returns the most that one of them sees. */
static int survey(const work *w, int *low, int *high)
{
    int most = 0;
    *low = INT32_MAX, *high = 0;
    for (int t = w->first; t < w->last; t++) {
        const int from = first_segment(w->sight, t), until = end_segment(w->sight, t);
        *low = smallest(*low, from), *high = largest(*high, until), most = largest(most, until - from);
    }
    return most;
}

/* The result of a head of a token in a segment. */
static float *result_of(const work *w, int token, int head, int segment)
{
    const int64_t row = (int64_t)(token - w->first) * w->result_heads + head % w->result_heads;
    const int place = smallest(largest(segment - first_segment(w->sight, token), 0), w->segments - 1);
    return w->results + (row * w->segments + place) * result_size(w->width);
}

/* The group that stands for all that have the same cells in chunk `j` as this token; -1 if the token sees none of it. */
static int leader_of(const sight *sight, int token, int j)
{
    const int g = sight->group[token];
    if (sight->until[token] <= j * CHUNK || sight->from[token] >= (j + 1) * CHUNK)
        return -1;
    return sight->same[g][j - sight->origin[g] / CHUNK];
}

/* Compute the scores, or with these as weights the values, of the chunks of a segment for the heads that share `kv`. */
static void do_chunks(const work *w, int kv, int segment, const bool weighed)
{
    const tensor *k = w->t->src[1], *v = w->t->src[2];
    const int tokens = w->last - w->first;
    for (int j = segment * PER_SEGMENT; j < (segment + 1) * PER_SEGMENT; j++) {
        const int start = j % PER_SEGMENT * CHUNK;
        for (int t = 0; t < tokens; t++)
            w->leaders[t] = leader_of(w->sight, w->first + t, j);
        for (int first = 0; first < tokens; first++) {
            const int leader = w->leaders[first];
            if (leader < 0)
                continue;
            int count = 0, until = 0;
            for (int t = first; t < tokens; t++) {
                if (w->leaders[t] != leader)
                    continue;
                w->leaders[t] = -1;
                until = largest(until, smallest(w->rows[t * w->heads].until - start, CHUNK));
                for (int h = 0; h < w->heads; h++)
                    w->picked[count++] = t * w->heads + h;
            }
            const int32_t *cells = w->sight->cells[leader] + j * CHUNK - w->sight->origin[leader];
            const vectors keys = {k->data + kv * k->nb[2], k->nb[1], cells}, values = {v->data + kv * v->nb[2], v->nb[1], cells};
            if (!weighed) {
                fetch(keys, until, w->width, true);
                fetch(values, until, w->width, false);
                widen_keys(keys, until, w->width, w->keys);
            } else if (count > DIRECT) {
                widen_values(values, until, w->width, w->values);
            }
            const vectors chunk = !weighed         ? (vectors){(const char *)w->keys, CHUNK * sizeof(float), NULL}
                                  : count > DIRECT ? (vectors){(const char *)w->values, w->width * sizeof(float), NULL}
                                                   : values;
            add_chunk(chunk, w->width, start, w->rows, w->picked, count, weighed);
        }
    }
}

/* Write the results of a segment for all tokens under way that see some of it, and the heads that share `kv`. */
static void do_segment(const work *w, int kv, int segment)
{
    const tensor *q = w->t->src[0];
    row *row = w->rows;
    for (int t = w->first; t < w->last; t++) {
        const int from = largest(w->sight->from[t] - segment * SEGMENT, 0);
        const int until = largest(smallest(w->sight->until[t] - segment * SEGMENT, SEGMENT), from);
        for (int h = kv * w->heads; h < (kv + 1) * w->heads; h++, row++) {
            row->query = (const float *)(q->data + t * q->nb[1] + h * q->nb[2]);
            row->scores = w->scores + (row - w->rows) * SEGMENT;
            row->result = result_of(w, t, h, segment);
            row->from = from, row->until = until;
        }
    }
    do_chunks(w, kv, segment, false);
    /* The largest scores of a token's heads come first, so that the processor need not wait for each. */
    for (row = w->rows; row < w->rows + (w->last - w->first) * w->heads; row += w->heads) {
        for (int h = 0; h < w->heads && row->from < row->until; h++)
            begin_result(row + h, w->scoring);
        for (int h = 0; h < w->heads && row->from < row->until; h++)
            weigh(row + h, w->scoring, w->width);
    }
    do_chunks(w, kv, segment, true);
}

/* Write what a head of a token comes to, f32 [width], from the sum of its segments' results; NULL for none. */
static void finish(const work *w, int token, int head, const float *sum)
{
    float *to = (float *)(w->t->data + token * w->t->nb[2] + head * w->t->nb[1]);
    const __m512 share = _mm512_set1_ps(sum != NULL && sum[1] > 0 ? 1.0f / sum[1] : 0.0f), zero = _mm512_setzero_ps();
    /* 0 is added because zeros have signs, which may depend on the other tokens. */
    for (int d = 0; d < w->width; d += 16)
        _mm512_storeu_ps(to + d, sum == NULL ? zero : _mm512_fmadd_ps(_mm512_load_ps(sum + 16 + d), share, zero));
}

/* Compute the tokens under way and the heads that share `kv`, all by one thread. */
static void do_tokens(const work *w, int kv)
{
    const sight *sight = w->sight;
    int low, high;
    survey(w, &low, &high);
    for (int segment = low; segment < high; segment++) {
        do_segment(w, kv, segment);
        for (int t = w->first; t < w->last; t++)
            for (int h = 0; h < w->heads && segment > first_segment(sight, t) && segment < end_segment(sight, t); h++)
                add_result(result_of(w, t, h, first_segment(sight, t)), result_of(w, t, h, segment), w->width);
    }
    for (int t = w->first; t < w->last; t++)
        for (int h = kv * w->heads; h < (kv + 1) * w->heads; h++)
            finish(w, t, h, sight->until[t] > sight->from[t] ? result_of(w, t, h, first_segment(sight, t)) : NULL);
}

/* Compute the tokens under way, few as they are, by all threads, which divide the segments among themselves. */
static void do_few(work *w, part *part)
{
    const int kvs = (int)w->t->src[1]->ne[2], heads = kvs * w->heads;
    int low, high;
    w->results = (float *)part->state->shared;
    w->result_heads = heads, w->segments = largest(survey(w, &low, &high), 1);
    for (int piece; (piece = taken(part)) < (high - low) * kvs;)
        do_segment(w, piece % kvs, low + piece / kvs);
    meet(part->team);
    for (int i = part->index; i < (w->last - w->first) * heads; i += part->team->count) {
        const int t = w->first + i / heads, h = i % heads, from = first_segment(w->sight, t), until = end_segment(w->sight, t);
        for (int s = from + 1; s < until; s++)
            add_result(result_of(w, t, h, from), result_of(w, t, h, s), w->width);
        finish(w, t, h, until > from ? result_of(w, t, h, from) : NULL);
    }
}

/* softmax(scores) · values for each head of each token, over the cells that it sees: f32 [tokens][heads][width]. Shapes of the
 * operands are those that `attends` names. */
void attention(part *part, const tensor *t)
{
    const tensor *q = t->src[0], *k = t->src[1];
    const int tokens = (int)q->ne[1], kvs = (int)k->ne[2];
    work w = {.t = t, .sight = sight_of(part->state, t), .width = (int)q->ne[0], .heads = (int)(q->ne[2] / k->ne[2])};
    float scale, cap;
    memcpy(&scale, t->op_params, sizeof scale);
    memcpy(&cap, t->op_params + 2, sizeof cap);
    w.scoring = (scoring){cap != 0 ? cap : scale, cap != 0 ? scale / cap : 0, cap != 0};
    part->rounded = NULL;
    const int most = most_together(w.heads), pieces = 4 * part->team->count;
    w.keys = (float *)part->own;
    w.values = w.keys + CHUNK * w.width;
    w.scores = w.values + CHUNK * w.width;
    w.results = w.scores + (int64_t)most * w.heads * SEGMENT;
    w.result_heads = w.heads, w.segments = 2;
    w.rows = (row *)(w.results + (int64_t)most * w.heads * 2 * result_size(w.width));
    w.picked = (int *)(w.rows + most * w.heads);
    w.leaders = w.picked + most * w.heads;
    if (tokens <= most && tokens * w.heads * kvs < WORTH * pieces) {
        w.first = 0, w.last = tokens;
        do_few(&w, part);
        return;
    }
    /* The last tokens, which see most cells, come first. */
    const int together = largest(smallest(tokens * kvs / pieces, most), 1), blocks = (tokens + together - 1) / together;
    for (int piece; (piece = taken(part)) < blocks * kvs;) {
        w.first = (blocks - 1 - piece / kvs) * together, w.last = smallest(w.first + together, tokens);
        do_tokens(&w, piece % kvs);
    }
}

#endif
