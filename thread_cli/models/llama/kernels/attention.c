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
 * rows that make a piece of work worth the widening of its keys and values. */
enum { TILE = 6, TOGETHER = 192, PER_SEGMENT = SEGMENT / CHUNK, WORTH = 32 };

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

/* Numbers (f32) of a result, the state of a head of a token after some segments: the largest score, the sum of the weights
 * e^(score - largest), 14 unused, and the weighted sum of the values [width]. */
static int result_size(int width) { return 16 + width; }

/* Segments that `cells` cells in order lie in, wherever they begin. */
static int segments_of(int cells) { return (cells + SEGMENT - 1) / SEGMENT + 1; }

static int largest(int a, int b) { return a > b ? a : b; }
static int smallest(int a, int b) { return a < b ? a : b; }

/* The most tokens whose results are held at once, where `heads` heads share keys. */
static int most_together(int heads) { return largest(TOGETHER / heads, 1); }

/* One row of a chunk: a head of a token, which sees its cells `from` to `until`, at least one. */
typedef struct {
    const float *query; /* [width] */
    float *scores;      /* [CHUNK] scores of the cells; later, their weights */
    float *result;      /* the result that the chunk is added to */
    int from, until;    /* cells of the chunk */
} row;

/* Bytes for the results of tokens that threads compute together: [tokens][heads][segments] of `result_size` numbers. */
size_t attention_shared(const tensor *t)
{
    const tensor *q = t->src[0], *k = t->src[1];
    const int tokens = smallest(most_together((int)(q->ne[2] / k->ne[2])), (int)q->ne[1]);
    return sizeof(float) * tokens * q->ne[2] * segments_of((int)k->ne[1]) * result_size((int)q->ne[0]);
}

/* Bytes for one thread: keys [width][CHUNK], values [CHUNK][width], scores [rows][SEGMENT], two results for each row, f32, and
 * rows. */
size_t attention_own(const tensor *t)
{
    const size_t width = t->src[1]->ne[0], heads = t->src[0]->ne[2] / t->src[1]->ne[2];
    const size_t rows = most_together((int)heads) * heads;
    return sizeof(float) * (2 * CHUNK * width + rows * (SEGMENT + 2 * result_size((int)width))) + sizeof(row) * rows;
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

/* Write the products of queries and keys, f32 [width][CHUNK], to the scores of `count` rows. */
static void add_keys(const float *keys, int width, const row *rows, int count)
{
    for (int i = 0; i < count; i += TILE) {
        const float *queries[TILE];
        float *scores[TILE];
        const int together = smallest(count - i, TILE);
        int from = CHUNK, until = 0;
        for (int n = 0; n < together; n++) {
            from = smallest(from, rows[i + n].from / 16 * 16), until = largest(until, rows[i + n].until);
            queries[n] = rows[i + n].query;
        }
        for (int n = 0; n < together; n++)
            scores[n] = rows[i + n].scores + from;
        multiply_add_any(queries, keys + from, CHUNK, 0, width, scores, false, together, (until - from + 15) / 16);
    }
}

/* Add the weighted values, f32 [CHUNK][width], to the results of `count` rows. */
static void add_values(const float *values, int width, const row *rows, int count)
{
    for (int i = 0; i < count; i += TILE) {
        const float *weights[TILE];
        float *sums[TILE];
        const int together = smallest(count - i, TILE);
        int from = CHUNK, until = 0;
        for (int n = 0; n < together; n++) {
            from = smallest(from, rows[i + n].from), until = largest(until, rows[i + n].until);
            weights[n] = rows[i + n].scores;
        }
        for (int d = 0; d < width; d += 64) {
            for (int n = 0; n < together; n++)
                sums[n] = rows[i + n].result + 16 + d;
            multiply_add_any(weights, values + d, width, from, until, sums, true, together, smallest(width - d, 64) / 16);
        }
    }
}

/* Factors of the scores: scale · q·k, or with a cap, cap · tanh(scale · q·k). */
typedef struct {
    float scale, cap;
} scoring;

/* Turn scores f32 [SEGMENT] of the cells `from` to `until` into their weights, with weight 0 for the other cells of their chunks,
 * and begin the result with the largest score and the sum of the weights. */
static void weigh(float *scores, int from, int until, scoring scoring, float *result, int width)
{
    const __m512 cap = _mm512_set1_ps(scoring.cap), lowest = _mm512_set1_ps(-INFINITY);
    __m512 best = lowest, sum = _mm512_setzero_ps();
    for (int c = from / 16 * 16; c < until; c += 16) {
        const __mmask16 seen = (__mmask16)((0xffff << largest(from - c, 0)) & (0xffff >> largest(c + 16 - until, 0)));
        __m512 score = _mm512_mul_ps(_mm512_load_ps(scores + c), _mm512_set1_ps(scoring.scale));
        if (scoring.cap != 0)
            score = _mm512_mul_ps(tanh_of(score), cap);
        score = _mm512_mask_mov_ps(lowest, seen, score);
        _mm512_store_ps(scores + c, score);
        best = _mm512_max_ps(best, score);
    }
    result[0] = _mm512_reduce_max_ps(best);
    best = _mm512_set1_ps(result[0]);
    for (int c = from / CHUNK * CHUNK; c < from / 16 * 16; c += 16)
        _mm512_store_ps(scores + c, _mm512_setzero_ps());
    int c = from / 16 * 16;
    for (; c < until; c += 16) {
        const __mmask16 seen = (__mmask16)((0xffff << largest(from - c, 0)) & (0xffff >> largest(c + 16 - until, 0)));
        const __m512 weight = _mm512_maskz_mov_ps(seen, exp_of(_mm512_sub_ps(_mm512_load_ps(scores + c), best)));
        _mm512_store_ps(scores + c, weight);
        sum = _mm512_add_ps(sum, weight);
    }
    for (; c % CHUNK != 0; c += 16)
        _mm512_store_ps(scores + c, _mm512_setzero_ps());
    result[1] = _mm512_reduce_add_ps(sum);
    for (int d = 0; d < width; d += 16)
        _mm512_store_ps(result + 16 + d, _mm512_setzero_ps());
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
    int width;                       /* width of a head */
    int heads;                       /* heads that share keys and values */
    int first, last;                 /* tokens under way, at most `most_together` */
    float *keys, *values, *scores;   /* [width][CHUNK], [CHUNK][width] and [tokens][heads][SEGMENT] */
    float *results;                  /* [tokens][heads] results of a segment, or if `segments`, [tokens][all heads][segments] */
    int segments;                    /* the most segments that a token under way sees, if their results are kept */
    row *rows;                       /* [tokens * heads] rows of a chunk */
} work;

/* The segments that a token's cells lie in, numbered by position. */
static int first_segment(const sight *sight, int token) { return sight->from[token] / SEGMENT; }
static int end_segment(const sight *sight, int token)
{
    return sight->until[token] > sight->from[token] ? (sight->until[token] - 1) / SEGMENT + 1 : first_segment(sight, token);
}

/* The result of a head of a token after a segment. */
static float *result_of(const work *w, int token, int head, int segment)
{
    const int64_t t = token - w->first;
    const int64_t row = w->segments == 0 ? t * w->heads + head % w->heads
                                         : (t * w->t->src[0]->ne[2] + head) * w->segments + segment - first_segment(w->sight, token);
    return w->results + row * result_size(w->width);
}

/* The scores of a head of a token in a segment, f32 [SEGMENT]. */
static float *scores_of(const work *w, int token, int head)
{
    return w->scores + ((int64_t)(token - w->first) * w->heads + head % w->heads) * SEGMENT;
}

/* The group that stands for all that have the same cells in chunk `j` as this token; -1 if the token sees none of it. */
static int leader_of(const sight *sight, int token, int j)
{
    const int g = sight->group[token];
    if (sight->until[token] <= j * CHUNK || sight->from[token] >= (j + 1) * CHUNK)
        return -1;
    return sight->same[g][j - sight->origin[g] / CHUNK];
}

/* Compute the scores, or with these as weights the values, of chunk `j` for all tokens that have the cells of group `leader` in it, and
 * the heads that share `kv`. */
static void do_chunk(const work *w, int kv, int j, int leader, const bool weighed)
{
    const tensor *q = w->t->src[0], *k = w->t->src[1], *v = w->t->src[2];
    const sight *sight = w->sight;
    int count = 0, least = CHUNK, most = 0;
    for (int t = w->first; t < w->last; t++) {
        if (leader_of(sight, t, j) != leader)
            continue;
        const int from = largest(sight->from[t] - j * CHUNK, 0), until = smallest(sight->until[t] - j * CHUNK, CHUNK);
        for (int h = kv * w->heads; h < (kv + 1) * w->heads; h++)
            w->rows[count++] = (row){(const float *)(q->data + t * q->nb[1] + h * q->nb[2]),
                                     scores_of(w, t, h) + j % PER_SEGMENT * CHUNK, result_of(w, t, h, j / PER_SEGMENT), from, until};
        least = smallest(least, from), most = largest(most, until);
    }
    const int32_t *cells = sight->cells[leader] + j * CHUNK - sight->origin[leader];
    if (weighed) {
        widen_values(v->data + kv * v->nb[2], v->nb[1], cells, least, most, w->width, w->values);
        add_values(w->values, w->width, w->rows, count);
    } else {
        widen_keys(k->data + kv * k->nb[2], k->nb[1], cells, most, w->width, w->keys);
        add_keys(w->keys, w->width, w->rows, count);
    }
}

/* Compute the scores, or with these as weights the values, of the chunks of a segment. */
static void do_chunks(const work *w, int kv, int segment, const bool weighed)
{
    for (int j = segment * PER_SEGMENT; j < (segment + 1) * PER_SEGMENT; j++)
        for (int t = w->first, before = -1; t < w->last; t++) {
            const int leader = leader_of(w->sight, t, j);
            if (leader < 0 || leader == before)
                continue;
            before = leader;
            /* Once for each leader, at the first of its tokens. */
            int first = w->first;
            while (leader_of(w->sight, first, j) != leader)
                first++;
            if (first == t)
                do_chunk(w, kv, j, leader, weighed);
        }
}

/* Write the results of a segment for all tokens under way that see some of it, and the heads that share `kv`. */
static void do_segment(const work *w, int kv, int segment)
{
    do_chunks(w, kv, segment, false);
    for (int t = w->first; t < w->last; t++) {
        const int from = largest(w->sight->from[t] - segment * SEGMENT, 0);
        const int until = smallest(w->sight->until[t] - segment * SEGMENT, SEGMENT);
        for (int h = kv * w->heads; h < (kv + 1) * w->heads && from < until; h++)
            weigh(scores_of(w, t, h), from, until, w->scoring, result_of(w, t, h, segment), w->width);
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

/* Compute the tokens under way and the heads that share `kv`, all by one thread; `sums` has room for a result for each row. */
static void do_tokens(const work *w, int kv, float *sums)
{
    const int size = result_size(w->width);
    int low = INT32_MAX, high = 0;
    for (int t = w->first; t < w->last; t++)
        low = smallest(low, first_segment(w->sight, t)), high = largest(high, end_segment(w->sight, t));
    for (int segment = low; segment < high; segment++) {
        do_segment(w, kv, segment);
        float *sum = sums;
        for (int t = w->first; t < w->last; t++)
            for (int h = 0; h < w->heads; h++, sum += size)
                if (segment == first_segment(w->sight, t))
                    memcpy(sum, result_of(w, t, h, segment), sizeof(float) * size);
                else if (segment > first_segment(w->sight, t) && segment < end_segment(w->sight, t))
                    add_result(sum, result_of(w, t, h, segment), w->width);
    }
    for (int t = w->first; t < w->last; t++)
        for (int h = kv * w->heads; h < (kv + 1) * w->heads; h++, sums += size)
            finish(w, t, h, w->sight->until[t] > w->sight->from[t] ? sums : NULL);
}

/* Compute the tokens under way, few as they are, by all threads, which divide the segments among themselves. */
static void do_few(work *w, part *part)
{
    const int kvs = (int)w->t->src[1]->ne[2], heads = kvs * w->heads;
    int low = INT32_MAX, high = 0;
    for (int t = w->first; t < w->last; t++) {
        const int from = first_segment(w->sight, t), until = end_segment(w->sight, t);
        low = smallest(low, from), high = largest(high, until);
        w->segments = largest(w->segments, until - from);
    }
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
    memcpy(&w.scoring.scale, t->op_params, sizeof w.scoring.scale);
    memcpy(&w.scoring.cap, t->op_params + 2, sizeof w.scoring.cap);
    if (w.scoring.cap != 0)
        w.scoring.scale /= w.scoring.cap;
    part->rounded = NULL;
    const int most = most_together(w.heads), size = result_size(w.width), pieces = 4 * part->team->count;
    w.keys = (float *)part->own;
    w.values = w.keys + CHUNK * w.width;
    w.scores = w.values + CHUNK * w.width;
    w.results = w.scores + (int64_t)most * w.heads * SEGMENT;
    float *sums = w.results + (int64_t)most * w.heads * size;
    w.rows = (row *)(sums + (int64_t)most * w.heads * size);
    if (tokens <= most && tokens * w.heads * kvs < WORTH * pieces) {
        w.first = 0, w.last = tokens;
        w.results = (float *)part->state->shared;
        do_few(&w, part);
        return;
    }
    /* The last tokens, which see most cells, come first. */
    const int together = largest(smallest(tokens * kvs / pieces, most), 1), blocks = (tokens + together - 1) / together;
    for (int piece; (piece = taken(part)) < blocks * kvs;) {
        w.first = (blocks - 1 - piece / kvs) * together, w.last = smallest(w.first + together, tokens);
        do_tokens(&w, piece % kvs, sums);
    }
}

#endif
