/* Products by AVX-512 with VNNI: 64 levels of 16 rows by 4 numbers of an activation at once.
 *
 * For few tokens, levels are unpacked as they are multiplied; for many, a slice of a panel is unpacked once for all.
 * Either way a sum goes through the blocks in order, so that it does not depend on how many tokens there are. */
#include "product.h"

#include <math.h>
#include <string.h>

#ifdef __x86_64__
#include "simd.h"

/* Most panels whose sums are in registers; tokens whose sums are in registers, of two panels; tokens up to which levels are
 * unpacked anew for each, and up to which four panels are multiplied at once; blocks of a panel whose levels are unpacked at once,
 * so that the nearest cache holds the levels of two panels; and bytes ahead that packed levels are fetched from memory. */
enum { HEIGHT = TALLEST, TILE = 6, FEW = 8, TALL = 2, SLICE = 24, AHEAD = 4096 };

/* ------------------------------------------------------------------------------------------------ activations */

/* The largest size of `count` numbers, a multiple of 16. */
INLINE float largest(const float *from, int64_t count)
{
    __m512 most = _mm512_setzero_ps();
    for (int64_t i = 0; i < count; i += 16)
        most = _mm512_max_ps(most, _mm512_abs_ps(_mm512_loadu_ps(from + i)));
    return _mm512_reduce_max_ps(most);
}

void round_activation(const rounding *r, const float *from, char *to, int index, int together)
{
    float *scales = (float *)(to + together * r->scales), *ratios = (float *)(to + together * r->ratios);
    int32_t *offsets = (int32_t *)(to + together * r->offsets);
    const float least = r->group > 1 ? largest(from, r->columns) * 0x1p-40f : 0;
    float before = 1;
    for (int64_t g = 0; g < r->groups; g++) {
        const int64_t first = g * r->group * BLOCK, left = r->columns - first;
        const int64_t last = first + (left < r->group * BLOCK ? left : r->group * BLOCK);
        const float most = fmaxf(largest(from + first, last - first), least);
        const float scale = most > 0 || r->group == 1 ? most / 127.0f : before;
        const __m512 factor = _mm512_set1_ps(most > 0 ? 127.0f / most : 0.0f);
        scales[g * together + index] = scale;
        if (r->group > 1)
            ratios[g * together + index] = before / scale;
        before = scale;
        for (int64_t b = first / BLOCK; b < last / BLOCK; b++) {
            const __m512i low = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from + b * BLOCK), factor));
            const __m512i high = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from + b * BLOCK + 16), factor));
            char *numbers = to + (b * together + index) * BLOCK;
            _mm_storeu_si128((__m128i *)numbers, _mm512_cvtsepi32_epi8(low));
            _mm_storeu_si128((__m128i *)(numbers + 16), _mm512_cvtsepi32_epi8(high));
            if (r->part == 16) {
                offsets[2 * b * together + index] = -r->center * _mm512_reduce_add_epi32(low);
                offsets[(2 * b + 1) * together + index] = -r->center * _mm512_reduce_add_epi32(high);
                continue;
            }
            const int sum = _mm512_reduce_add_epi32(_mm512_add_epi32(low, high));
            if (r->minima == OF_SUPERBLOCKS)
                ((int16_t *)offsets)[(b / 8 * together + index) * 8 + b % 8] = (int16_t)sum;
            else if (r->minima)
                ((float *)offsets)[b * together + index] = scale * (float)sum;
            else
                offsets[b * together + index] = -r->center * sum;
        }
    }
}

/* ------------------------------------------------------------------------------------------------ levels and scales */

/* Where levels come from: a packed panel, or a slice that is unpacked. Constant wherever it is looked at. */
typedef struct {
    enum kind kind; /* NO_FORMAT: unpacked */
    const uint8_t *panel;  /* the packed panel, or the unpacked levels of the slice */
    const float *unpacked; /* the unpacked scales */
    size_t levels;         /* where the levels of a packed panel begin, if its format has blocks of 32 */
    const uint8_t *end;    /* end of a packed panel; the panel that is multiplied next lies `jump` bytes further */
    size_t jump;
} source;

/* Fetch what lies AHEAD of a place in a packed panel, `lines` of 64 bytes. */
INLINE void fetch(const source *s, const uint8_t *at, const int lines)
{
    at += AHEAD;
    at += at >= s->end ? s->jump : 0;
    for (int i = 0; i < lines; i++)
        _mm_prefetch((const char *)at + i * 64, _MM_HINT_T0);
}

/* Fetch what block `b` of the superblocks ahead has, scales and all: an eighth of what a superblock has. */
INLINE void fetch_eighth(const enum kind kind, const source *s, int64_t b)
{
    const int size = kind == Q4_K ? K_LEVELS + 2048 : kind == Q5_K ? K_HIGH + 512 : Q6_HIGH + 1024;
    if (kind == Q4_K || kind == Q5_K || kind == Q6_K)
        fetch(s, s->panel + b * (size / 8), (size / 8 + 63) / 64);
}

/* Levels of vectors 2 p and 2 p + 1 of block `b`: u8 [16 rows][4 columns] each. */
INLINE void two_levels(const enum kind kind, const source *s, int64_t b, const int p, __m512i *even, __m512i *odd)
{
    const __m512i low = _mm512_set1_epi8(15);
    const uint8_t *at, *high = NULL;
    switch (kind) {
    case NO_FORMAT:
    case Q8_0:
        at = kind == NO_FORMAT ? s->panel + b * 512 : s->panel + s->levels + b * 512;
        if (kind == Q8_0)
            fetch(s, at + p * 128, 2);
        *even = _mm512_loadu_si512(at + p * 128), *odd = _mm512_loadu_si512(at + p * 128 + 64);
        return;
    case Q4_0:
    case Q4_1:
    case IQ4_NL: at = s->panel + s->levels + b * 256; break;
    case Q5_0:
    case Q5_1: at = s->panel + s->levels + b * 320, high = at + 256; break;
    case Q4_K: at = s->panel + b / 8 * (K_LEVELS + 2048) + K_LEVELS + b % 8 * 256; break;
    case Q5_K:
        at = s->panel + b / 8 * (K_HIGH + 512) + K_LEVELS + b % 8 * 256;
        high = s->panel + b / 8 * (K_HIGH + 512) + K_HIGH + b % 8 * 64;
        break;
    default:
        at = s->panel + b / 8 * (Q6_HIGH + 1024) + Q6_LEVELS + b % 8 * 256;
        high = s->panel + b / 8 * (Q6_HIGH + 1024) + Q6_HIGH + b % 8 * 128;
    }
    if (kind != Q4_K && kind != Q5_K && kind != Q6_K)
        fetch(s, at + p * 64, kind == Q5_0 || kind == Q5_1 ? 2 : 1);
    const __m512i both = _mm512_loadu_si512(at + p * 64);
    *even = _mm512_and_si512(both, low);
    *odd = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
    if (kind == IQ4_NL) {
        const __m512i table = _mm512_broadcast_i32x4(
            _mm_xor_si128(_mm_loadu_si128((const __m128i *)iq4_nl_levels), _mm_set1_epi8((char)0x80)));
        *even = _mm512_shuffle_epi8(table, *even), *odd = _mm512_shuffle_epi8(table, *odd);
    }
    if (kind == Q5_0 || kind == Q5_1 || kind == Q5_K) {
        uint64_t masks[2];
        memcpy(masks, high + p * 16, sizeof masks);
        const __m512i fifth = _mm512_set1_epi8(16);
        *even = _mm512_mask_add_epi8(*even, masks[0], *even, fifth);
        *odd = _mm512_mask_add_epi8(*odd, masks[1], *odd, fifth);
    }
    if (kind == Q6_K) {
        const __m512i upper = _mm512_loadu_si512(high + p / 2 * 64), place = _mm512_set1_epi8(0x30);
        const __m512i first = p % 2 ? upper : _mm512_slli_epi16(upper, 4);
        const __m512i second = p % 2 ? _mm512_srli_epi16(upper, 2) : _mm512_slli_epi16(upper, 2);
        *even = _mm512_ternarylogic_epi32(*even, first, place, 0xf8); /* a | (b & c) */
        *odd = _mm512_ternarylogic_epi32(*odd, second, place, 0xf8);
    }
}

/* Scales of 16 rows, f32: those of block `b`, or, where each half has its own, of half `h` of it. */
INLINE __m512 scales_of(const enum kind kind, const int part, const source *s, int64_t b, const int h)
{
    const uint8_t *at;
    __m512i whole;
    switch (kind) {
    case NO_FORMAT: return _mm512_loadu_ps(s->unpacked + (part == 16 ? 2 * b + h : b) * ROWS);
    case Q4_K:
    case Q5_K:
        at = s->panel + b / 8 * (kind == Q4_K ? K_LEVELS + 2048 : K_HIGH + 512);
        whole = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(at + K_SCALES + b % 8 * ROWS)));
        break;
    case Q6_K:
        at = s->panel + b / 8 * (Q6_HIGH + 1024);
        whole = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(at + Q6_SCALES + (b % 8 * 2 + h) * ROWS)));
        break;
    default: return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(s->panel + b * ROWS * 2)));
    }
    const __m512 unit = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(at + K_SCALE)));
    return _mm512_mul_ps(unit, _mm512_cvtepi32_ps(whole));
}

/* ------------------------------------------------------------------------------------------------ sums */

/* Sums of a few panels and a few tokens. */
typedef struct {
    source panels[HEIGHT];
    const char *activations; /* the first activation that is wanted, of several that lie together */
    size_t stride;           /* of activations that are not rounded */
    int together, skipped; /* how many lie together, and how many of them come before (where minima are taken alone) */
    const rounding *rounding;
    int64_t first, last; /* blocks; the first is block 0 of an unpacked slice */
    char *result;         /* f32 [tokens][rows of the panels] */
    size_t result_stride; /* bytes from one token's to the next */
    uint16_t keep;        /* which rows of the last panel there are, a bit each */
} sums_work;

/* Add blocks `first` to `last` to the sums, f32 [count][height][16], of `height` panels and `count` tokens. */
INLINE void add_blocks(const sums_work *w, const enum kind kind, const int group, const int part, const bool centered,
                       const int height, const int count)
{
    const rounding *r = w->rounding;
    const int parts = BLOCK / part;
    const int64_t start = kind == NO_FORMAT ? w->first : 0, together = w->together;
    const char *numbers = w->activations + w->first * together * BLOCK;
    const float *scales = (const float *)(w->activations + together * r->scales);
    const float *ratios = (const float *)(w->activations + together * r->ratios);
    const int32_t *offsets = (const int32_t *)(w->activations + together * r->offsets) + w->first * parts * together;
    __m512 sums[HEIGHT][FEW];
    for (int h = 0; h < height; h++)
        for (int i = 0; i < count; i++) {
            const float *from = (const float *)(w->result + i * w->result_stride) + h * ROWS;
            const uint16_t keep = h == height - 1 ? w->keep : 0xffff;
            sums[h][i] = w->first == 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(keep, from);
        }
    for (int64_t b = w->first; b < w->last; b++, numbers += together * BLOCK) {
        if (group > 1 && b % group == 0 && b > 0)
#pragma GCC unroll 8
            for (int i = 0; i < count; i++) {
                const __m512 ratio = _mm512_set1_ps(ratios[b / group * together + i]);
                for (int h = 0; h < height; h++)
                    sums[h][i] = _mm512_mul_ps(sums[h][i], ratio);
            }
        for (int h = 0; h < height; h++)
            fetch_eighth(kind, &w->panels[h], b);
#pragma GCC unroll 2
        for (int half = 0; half < parts; half++, offsets += together) {
            __m512i exact[HEIGHT][FEW];
#pragma GCC unroll 8
            for (int i = 0; i < count; i++) {
                exact[0][i] = centered ? _mm512_set1_epi32(offsets[i]) : _mm512_setzero_si512();
                for (int h = 1; h < height; h++)
                    exact[h][i] = exact[0][i];
            }
#pragma GCC unroll 4
            for (int p = half * part / 8; p < (half + 1) * part / 8; p++) {
                __m512i even[HEIGHT], odd[HEIGHT];
                for (int h = 0; h < height; h++)
                    two_levels(kind, &w->panels[h], b - start, p, &even[h], &odd[h]);
#pragma GCC unroll 8
                for (int i = 0; i < count; i++) {
                    const int32_t *four = (const int32_t *)(numbers + i * BLOCK) + 2 * p;
                    const __m512i first = _mm512_set1_epi32(four[0]), second = _mm512_set1_epi32(four[1]);
                    for (int h = 0; h < height; h++)
                        exact[h][i] = _mm512_dpbusd_epi32(exact[h][i], even[h], first);
                    for (int h = 0; h < height; h++)
                        exact[h][i] = _mm512_dpbusd_epi32(exact[h][i], odd[h], second);
                }
            }
            for (int h = 0; h < height; h++) {
                const __m512 scale = scales_of(kind, part, &w->panels[h], b - start, half);
#pragma GCC unroll 8
                for (int i = 0; i < count; i++) {
                    const __m512 both =
                        group == 1 ? _mm512_mul_ps(scale, _mm512_set1_ps(scales[b * together + i])) : scale;
                    sums[h][i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(exact[h][i]), both, sums[h][i]);
                }
            }
        }
    }
    for (int h = 0; h < height; h++)
        for (int i = 0; i < count; i++) {
            if (group > 1 && w->last == r->columns / BLOCK)
                sums[h][i] = _mm512_mul_ps(sums[h][i], _mm512_set1_ps(scales[(r->groups - 1) * together + i]));
            _mm512_mask_storeu_ps((float *)(w->result + i * w->result_stride) + h * ROWS,
                                  h == height - 1 ? w->keep : 0xffff, sums[h][i]);
        }
}

/* Take the products of a panel's minima from its results, f32 [count][16]; its superblocks are `unit` bytes apart. */
INLINE void take_minima(const sums_work *w, const int unit, const int count)
{
    const rounding *r = w->rounding;
    const int together = w->together, skipped = w->skipped;
    const float *factors = (const float *)(w->activations + together * r->scales) + skipped;
    __m512 sums[FEW];
    for (int i = 0; i < count; i++)
        sums[i] = _mm512_setzero_ps();
    for (int64_t s = 0; s < r->columns / SUPER; s++) {
        const uint8_t *at = w->panels[0].panel + s * unit;
        const __m512 units = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(at + K_MINIMUM)));
        __m512i pairs[4];
        for (int p = 0; p < 4; p++)
            pairs[p] = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(at + K_MINIMA + p * 32)));
#pragma GCC unroll 8
        for (int i = 0; i < count; i++) {
            const int32_t *two = (const int32_t *)(w->activations + together * r->offsets) + (s * together + skipped + i) * 4;
            __m512i exact = _mm512_setzero_si512();
#pragma GCC unroll 4
            for (int p = 0; p < 4; p++)
                exact = _mm512_dpwssd_epi32(exact, pairs[p], _mm512_set1_epi32(two[p]));
            const __m512 factor = _mm512_set1_ps(factors[s * together + i]);
            sums[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(exact), _mm512_mul_ps(units, factor), sums[i]);
        }
    }
    for (int i = 0; i < count; i++) {
        float *result = (float *)(w->result + i * w->result_stride);
        _mm512_mask_storeu_ps(result, w->keep, _mm512_sub_ps(_mm512_maskz_loadu_ps(w->keep, result), sums[i]));
    }
}

/* The same where each block has a minimum of its own. */
INLINE void take_block_minima(const sums_work *w, const int count)
{
    const rounding *r = w->rounding;
    const float *factors = (const float *)(w->activations + w->together * r->offsets) + w->skipped;
    const uint8_t *at = w->panels[0].panel + scales_size(r->columns);
    __m512 sums[FEW];
    for (int i = 0; i < count; i++)
        sums[i] = _mm512_setzero_ps();
    for (int64_t b = 0; b < r->columns / BLOCK; b++, factors += w->together) {
        const __m512 minimum = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(at + b * ROWS * 2)));
#pragma GCC unroll 8
        for (int i = 0; i < count; i++)
            sums[i] = _mm512_fnmadd_ps(minimum, _mm512_set1_ps(factors[i]), sums[i]);
    }
    for (int i = 0; i < count; i++) {
        float *result = (float *)(w->result + i * w->result_stride);
        _mm512_mask_storeu_ps(result, w->keep, _mm512_sub_ps(_mm512_maskz_loadu_ps(w->keep, result), sums[i]));
    }
}

/* F16 and BF16: weights [columns][16 rows] times activations f32 [count][columns], in four sums by turns. */
INLINE void add_wide(const sums_work *w, const enum kind kind, const int count)
{
    const uint16_t *weights = (const uint16_t *)w->panels[0].panel;
    __m512 sums[TILE][4];
    for (int i = 0; i < count; i++)
        for (int j = 0; j < 4; j++)
            sums[i][j] = _mm512_setzero_ps();
    for (int64_t c = 0; c < w->rounding->columns; c += 4)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            const __m256i bits = _mm256_loadu_si256((const __m256i *)(weights + (c + j) * ROWS));
            const __m512 weight = kind == F16
                                      ? _mm512_cvtph_ps(bits)
                                      : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
#pragma GCC unroll 6
            for (int i = 0; i < count; i++) {
                const float *x = (const float *)(w->activations + i * w->stride);
                sums[i][j] = _mm512_fmadd_ps(weight, _mm512_set1_ps(x[c + j]), sums[i][j]);
            }
        }
    for (int i = 0; i < count; i++)
        _mm512_mask_storeu_ps((float *)(w->result + i * w->result_stride), w->keep,
                              _mm512_add_ps(_mm512_add_ps(sums[i][0], sums[i][1]), _mm512_add_ps(sums[i][2], sums[i][3])));
}

/* ------------------------------------------------------------------------------------------------ one function a case */

#define CASES(call)                                                                                                        \
    switch (count) {                                                                                                       \
    case 1: call(1); break;                                                                                                \
    case 2: call(2); break;                                                                                                \
    case 3: call(3); break;                                                                                                \
    case 4: call(4); break;                                                                                                \
    case 5: call(5); break;                                                                                                \
    case 6: call(6); break;                                                                                                \
    default: break;                                                                                                        \
    }

/* The sums of so many panels and tokens, of a kind of levels and scales: of packed panels, and of slices that are unpacked. */
#define SUMS(height, count, ...)                                                           \
    case (height) * 10 + (count): add_blocks(w, __VA_ARGS__, height, count); break;
#define SUMS_OF_SIX(height, ...)                                                           \
    SUMS(height, 1, __VA_ARGS__)                                                           \
    SUMS(height, 2, __VA_ARGS__)                                                           \
    SUMS(height, 3, __VA_ARGS__)                                                           \
    SUMS(height, 4, __VA_ARGS__)                                                           \
    SUMS(height, 5, __VA_ARGS__)                                                           \
    SUMS(height, 6, __VA_ARGS__)
#define SUMS_FUNCTION(name, more, ...)                                                     \
    static void name(const sums_work *w, int height, int count)                            \
    {                                                                                      \
        switch (height * 10 + count) {                                                     \
            SUMS_OF_SIX(1, __VA_ARGS__)                                                    \
            SUMS_OF_SIX(2, __VA_ARGS__)                                                    \
            more(__VA_ARGS__)                                                              \
        default: break;                                                                    \
        }                                                                                  \
    }
#define NO_MORE(...)
#define FEW_MORE(...) SUMS(1, 7, __VA_ARGS__) SUMS(1, 8, __VA_ARGS__) SUMS(4, 1, __VA_ARGS__) SUMS(4, 2, __VA_ARGS__)

SUMS_FUNCTION(q4_0, FEW_MORE, Q4_0, 1, 32, true)
SUMS_FUNCTION(q4_1, FEW_MORE, Q4_1, 1, 32, false)
SUMS_FUNCTION(q5_0, FEW_MORE, Q5_0, 1, 32, true)
SUMS_FUNCTION(q5_1, FEW_MORE, Q5_1, 1, 32, false)
SUMS_FUNCTION(q8_0, FEW_MORE, Q8_0, 1, 32, true)
SUMS_FUNCTION(iq4_nl, FEW_MORE, IQ4_NL, 1, 32, true)
SUMS_FUNCTION(q4_k, FEW_MORE, Q4_K, 8, 32, false)
SUMS_FUNCTION(q5_k, FEW_MORE, Q5_K, 8, 32, false)
SUMS_FUNCTION(q6_k, FEW_MORE, Q6_K, 8, 16, true)
SUMS_FUNCTION(unpacked, NO_MORE, NO_FORMAT, 1, 32, true)
SUMS_FUNCTION(unpacked_minima, NO_MORE, NO_FORMAT, 1, 32, false)
SUMS_FUNCTION(unpacked_super, NO_MORE, NO_FORMAT, 8, 32, false)
SUMS_FUNCTION(unpacked_halves, NO_MORE, NO_FORMAT, 8, 16, true)

typedef void add(const sums_work *, int height, int count);
static add *const packed[KINDS] = {
    [Q4_0] = q4_0, [Q4_1] = q4_1, [Q5_0] = q5_0, [Q5_1] = q5_1, [Q8_0] = q8_0,
    [IQ4_NL] = iq4_nl, [Q4_K] = q4_k, [Q5_K] = q5_k, [Q6_K] = q6_k,
};

/* The function that adds up slices of unpacked panels. */
static add *slices_of(const rounding *r)
{
    static add *const known[] = {unpacked, unpacked_minima, unpacked_super, unpacked_halves};
    return known[r->part != BLOCK ? 3 : (int)r->minima];
}

#define MINIMA_Q4_K(count) take_minima(w, K_LEVELS + 2048, count)
#define MINIMA_Q5_K(count) take_minima(w, K_HIGH + 512, count)
#define MINIMA_OF_BLOCKS(count) take_block_minima(w, count)
#define WIDE_F16(count) add_wide(w, F16, count)
#define WIDE_BF16(count) add_wide(w, BF16, count)

static void minima(const sums_work *w, int count)
{
    switch (w->panels[0].kind) {
    case Q4_K: CASES(MINIMA_Q4_K) break;
    case Q5_K: CASES(MINIMA_Q5_K) break;
    default: CASES(MINIMA_OF_BLOCKS)
    }
}

static void wide(const sums_work *w, int count)
{
    if (w->panels[0].kind == F16)
        CASES(WIDE_F16)
    else
        CASES(WIDE_BF16)
}

/* ------------------------------------------------------------------------------------------------ unpacking */

/* Levels, [blocks][8][16][4], less the center if `with_sign`, and scales, f32 [blocks][parts][16], of blocks `first` to `last` of a
 * panel. */
INLINE void unpack_slice(const enum kind kind, const source *s, int64_t first, int64_t last, const bool with_sign,
                         uint8_t *levels, float *scales)
{
    const __m512i center = _mm512_set1_epi8((char)(with_sign ? formats[kind].center : 0));
    const int part = formats[kind].part;
    for (int64_t b = first; b < last; b++, levels += 512) {
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++) {
            __m512i even, odd;
            two_levels(kind, s, b, p, &even, &odd);
            _mm512_store_si512(levels + p * 128, _mm512_sub_epi8(even, center));
            _mm512_store_si512(levels + p * 128 + 64, _mm512_sub_epi8(odd, center));
        }
        for (int half = 0; half < BLOCK / part; half++, scales += ROWS)
            _mm512_store_ps(scales, scales_of(kind, part, s, b, half));
    }
}

static void unpack(const source *s, int64_t first, int64_t last, bool with_sign, uint8_t *levels, float *scales)
{
    switch (s->kind) {
    case Q4_0: unpack_slice(Q4_0, s, first, last, with_sign, levels, scales); break;
    case Q4_1: unpack_slice(Q4_1, s, first, last, with_sign, levels, scales); break;
    case Q5_1: unpack_slice(Q5_1, s, first, last, with_sign, levels, scales); break;
    case Q5_0: unpack_slice(Q5_0, s, first, last, with_sign, levels, scales); break;
    case Q8_0: unpack_slice(Q8_0, s, first, last, with_sign, levels, scales); break;
    case IQ4_NL: unpack_slice(IQ4_NL, s, first, last, with_sign, levels, scales); break;
    case Q4_K: unpack_slice(Q4_K, s, first, last, with_sign, levels, scales); break;
    case Q5_K: unpack_slice(Q5_K, s, first, last, with_sign, levels, scales); break;
    case Q6_K: unpack_slice(Q6_K, s, first, last, with_sign, levels, scales); break;
    default: break;
    }
}

/* ------------------------------------------------------------------------------------------------ products */

enum { UNPACKED = PANELS * SLICE * 512, SCALES = PANELS * SLICE * 2 * ROWS * sizeof(float) };

size_t product_own(void) { return UNPACKED + SCALES; }

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Products of few tokens, that unpack levels as they are multiplied. */
static bool is_few(enum path path, int64_t tokens) { return tokens < FEW || (tokens == FEW && path == PATH_VNNI); }

int together_for(enum path path, int64_t tokens)
{
    /* A graph may have products of no tokens at all, where no logits are wanted. */
    if (tokens == 0)
        return 1;
    return is_few(path, tokens) ? (int)tokens : path == PATH_VNNI ? TILE : SIXTEEN;
}

/* The work of `height` panels, for the tokens from one on that is the first of those that lie together. */
static sums_work work_of(const product *p, int64_t panel, int height, int64_t token)
{
    const bool is_rounded = p->rounding.group > 0;
    sums_work w = {.activations = p->activations + token * (is_rounded ? p->rounding.size : p->stride),
                   .stride = p->stride,
                   .together = p->together,
                   .rounding = &p->rounding,
                   .last = p->columns / BLOCK,
                   .result = p->result + token * p->result_stride + panel * ROWS * sizeof(float),
                   .result_stride = p->result_stride};
    const int64_t left = p->rows - (panel + height - 1) * ROWS;
    w.keep = left >= ROWS ? 0xffff : (uint16_t)((1u << left) - 1);
    const size_t size = panel_size(p->kind, p->columns);
    for (int h = 0; h < height; h++)
        w.panels[h] = (source){.kind = p->kind,
                               .panel = p->weights + (panel + h) * size,
                               .levels = levels_at(p->kind, p->columns),
                               .end = p->weights + (panel + h + 1) * size,
                               .jump = (height - 1) * size};
    return w;
}

/* Take the minima from the results of a panel, for all tokens. */
static void finish(const product *p, int64_t panel)
{
    for (int64_t t = 0; p->rounding.minima && t < p->tokens; t += p->together) {
        sums_work w = work_of(p, panel, 1, t);
        const int64_t count = least(p->together, p->tokens - t);
        for (int64_t i = 0; i < count; i += TILE) {
            minima(&w, (int)least(TILE, count - i));
            w.result += TILE * w.result_stride;
            w.skipped += TILE;
        }
    }
}

/* A slice of panels by AMX, for all tokens. */
static void multiply_tiles(const product *p, int64_t panel, int height, int64_t first, int64_t last, const char *own)
{
    const int parts = BLOCK / p->rounding.part;
    for (int64_t t = 0; t < p->tokens; t += SIXTEEN)
        for (int h = 0; h < height; h++) {
            const int count = (int)least(SIXTEEN, p->tokens - t);
            const sums_work w = work_of(p, panel + h, 1, t);
            _Alignas(64) float sums[SIXTEEN * ROWS] = {0};
            for (int i = 0; i < count; i++) {
                const float *from = (const float *)(w.result + i * w.result_stride);
                _mm512_store_ps(sums + i * ROWS,
                                first == 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(w.keep, from));
            }
            const tile_work tiles = {.levels = (const int8_t *)own + h * SLICE * 512,
                                     .scales = (const float *)(own + UNPACKED) + h * SLICE * parts * ROWS,
                                     .activations = w.activations,
                                     .rounding = &p->rounding,
                                     .first = first,
                                     .blocks = last - first,
                                     .sums = sums,
                                     .count = count};
            amx_multiply(p->path, &tiles);
            for (int i = 0; i < count; i++)
                _mm512_mask_storeu_ps(w.result + i * w.result_stride, w.keep, _mm512_load_ps(sums + i * ROWS));
        }
}

/* The results of `height` panels for many tokens: levels are unpacked slice by slice, once for all. */
static void multiply_many(const product *p, int64_t panel, int height, char *own)
{
    const int64_t blocks = p->columns / BLOCK;
    const int parts = BLOCK / p->rounding.part;
    const bool tiles = p->path != PATH_VNNI;
    for (int64_t first = 0; first < blocks; first += SLICE) {
        const int64_t last = least(first + SLICE, blocks);
        sums_work w = work_of(p, panel, height, 0);
        for (int h = 0; h < height; h++) {
            uint8_t *levels = (uint8_t *)own + h * SLICE * 512;
            float *scales = (float *)(own + UNPACKED) + h * SLICE * parts * ROWS;
            unpack(&w.panels[h], first, last, tiles, levels, scales);
            w.panels[h].panel = levels, w.panels[h].unpacked = scales;
        }
        if (tiles) {
            multiply_tiles(p, panel, height, first, last, own);
            continue;
        }
        w.first = first, w.last = last;
        for (int64_t t = 0; t < p->tokens; t += TILE) {
            slices_of(&p->rounding)(&w, height, (int)least(TILE, p->tokens - t));
            w.activations += TILE * p->rounding.size, w.result += TILE * w.result_stride;
        }
    }
}

void multiply(const product *p, int64_t first, int64_t last, char *own)
{
    for (int64_t panel = first; panel < last;) {
        const bool is_wide = p->kind == F16 || p->kind == BF16;
        const int height = is_wide                                                                    ? 1
                           : p->tokens <= TALL && panel + HEIGHT <= last                              ? HEIGHT
                           : (p->tokens <= TILE || !is_few(p->path, p->tokens)) && panel + PANELS <= last ? PANELS
                                                                                                      : 1;
        if (is_wide)
            for (int64_t t = 0; t < p->tokens; t += TILE) {
                const sums_work w = work_of(p, panel, 1, t);
                wide(&w, (int)least(TILE, p->tokens - t));
            }
        else if (is_few(p->path, p->tokens)) {
            const sums_work w = work_of(p, panel, height, 0);
            packed[p->kind](&w, height, (int)p->tokens);
        }
        else
            multiply_many(p, panel, height, own);
        for (int h = 0; h < height; h++)
            finish(p, panel + h);
        panel += height;
    }
}

#else

size_t product_own(void) { return 0; }
void round_activation(const rounding *r, const float *from, char *to, int index, int together)
{
    reference_round(r, from, to, index, together);
}
int together_for(enum path path, int64_t tokens) { return (void)path, tokens ? (int)tokens : 1; }
void multiply(const product *p, int64_t first, int64_t last, char *own) { (void)p, (void)first, (void)last, (void)own; }

#endif

bool has_vnni(void)
{
#ifdef __x86_64__
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
#else
    return false;
#endif
}
