/* Products by AVX-512 with VNNI: 64 levels of 16 rows by 4 numbers of an activation at once.
 *
 * For few tokens, levels are unpacked as they are multiplied; for many, a slice of a panel is unpacked once for all.
 * Either way a sum goes through the blocks in order, so that it does not depend on how many tokens there are. */
#include "product.h"

#include <math.h>
#include <string.h>

#ifdef __x86_64__
#include "simd.h"

/* Tokens whose sums of two panels are in registers; tokens up to which levels are unpacked anew for each panel; blocks of a panel whose
 * levels are unpacked at once, so that the nearest cache holds the levels of two panels; and bytes ahead that packed levels are
 * fetched from memory. */
enum { TILE = 6, FEW = 8, SLICE = 24, AHEAD = 8192 };

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

/* Bytes of a packed panel for each block of 32 columns, its share of the scales among them: `panel_size`, as a constant. */
INLINE int block_bytes(const enum kind kind)
{
    switch (kind) {
    case Q8_0: return 512 + 32;
    case Q4_0:
    case IQ4_NL: return 256 + 32;
    case Q4_1: return 256 + 64;
    case Q5_0: return 320 + 32;
    case Q5_1: return 320 + 64;
    case Q4_K: return (K_LEVELS + 2048) / 8;
    case Q5_K: return (K_HIGH + 512) / 8;
    default: return (Q6_HIGH + 1024) / 8;
    }
}

/* Fetch the bytes that lie AHEAD of quarter `p` of block `b` in a packed panel: a quarter of the bytes that a block has there, scales among
 * them, so that blocks one after another fetch the whole panel. */
INLINE void fetch(const enum kind kind, const source *s, int64_t b, const int p)
{
    if (kind == NO_FORMAT)
        return;
    const int size = block_bytes(kind), lines = (size + 63) / 64;
    const uint8_t *at = s->panel + b * size + AHEAD;
    at += at >= s->end ? s->jump : 0;
    for (int i = p * lines / 4; i < (p + 1) * lines / 4; i++)
        _mm_prefetch((const char *)at + i * 64, _MM_HINT_T0);
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
    source panels[PANELS];
    const char *activations; /* the first activation that is wanted, of several that lie together */
    size_t stride;           /* of activations that are not rounded */
    int together, skipped; /* how many lie together, and how many of them come before (where minima are taken alone) */
    const rounding *rounding;
    int64_t first, last; /* blocks; the first is block 0 of an unpacked slice */
    float *sums;         /* [panels][plane][16 rows], of the tokens from the first that is wanted on */
    int64_t plane;       /* tokens that there is room for */
} sums_work;

/* The sums of a panel and a token. */
INLINE float *sum_of(const sums_work *w, int panel, int token) { return w->sums + (panel * w->plane + token) * ROWS; }

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
    __m512 sums[PANELS][FEW];
    for (int h = 0; h < height; h++)
        for (int i = 0; i < count; i++)
            sums[h][i] = w->first == 0 ? _mm512_setzero_ps() : _mm512_load_ps(sum_of(w, h, i));
    for (int64_t b = w->first; b < w->last; b++, numbers += together * BLOCK) {
        if (group > 1 && b % group == 0 && b > 0)
#pragma GCC unroll 8
            for (int i = 0; i < count; i++) {
                const __m512 ratio = _mm512_set1_ps(ratios[b / group * together + i]);
                for (int h = 0; h < height; h++)
                    sums[h][i] = _mm512_mul_ps(sums[h][i], ratio);
            }
#pragma GCC unroll 2
        for (int half = 0; half < parts; half++, offsets += together) {
            __m512i exact[PANELS][FEW];
#pragma GCC unroll 8
            for (int i = 0; i < count; i++) {
                exact[0][i] = centered ? _mm512_set1_epi32(offsets[i]) : _mm512_setzero_si512();
                for (int h = 1; h < height; h++)
                    exact[h][i] = exact[0][i];
            }
#pragma GCC unroll 4
            for (int p = half * part / 8; p < (half + 1) * part / 8; p++) {
                __m512i even[PANELS], odd[PANELS];
                for (int h = 0; h < height; h++)
                    fetch(kind, &w->panels[h], b, p);
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
            _mm512_store_ps(sum_of(w, h, i), sums[h][i]);
        }
}

/* Take the products of the panels' minima from their sums; superblocks are `unit` bytes apart. */
INLINE void take_minima(const sums_work *w, const int unit, const int height, const int count)
{
    const rounding *r = w->rounding;
    const int together = w->together, skipped = w->skipped;
    const float *factors = (const float *)(w->activations + together * r->scales) + skipped;
    const int32_t *offsets = (const int32_t *)(w->activations + together * r->offsets) + skipped * 4;
    __m512 sums[PANELS][FEW];
    for (int h = 0; h < height; h++)
        for (int i = 0; i < count; i++)
            sums[h][i] = _mm512_setzero_ps();
    for (int64_t s = 0; s < r->columns / SUPER; s++, offsets += together * 4, factors += together) {
        __m512 units[PANELS];
        __m512i pairs[PANELS][4];
        for (int h = 0; h < height; h++) {
            const uint8_t *at = w->panels[h].panel + s * unit;
            units[h] = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(at + K_MINIMUM)));
            for (int p = 0; p < 4; p++)
                pairs[h][p] = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(at + K_MINIMA + p * 32)));
        }
#pragma GCC unroll 8
        for (int i = 0; i < count; i++) {
            __m512i exact[PANELS];
            for (int h = 0; h < height; h++)
                exact[h] = _mm512_setzero_si512();
#pragma GCC unroll 4
            for (int p = 0; p < 4; p++) {
                const __m512i two = _mm512_set1_epi32(offsets[i * 4 + p]);
                for (int h = 0; h < height; h++)
                    exact[h] = _mm512_dpwssd_epi32(exact[h], pairs[h][p], two);
            }
            const __m512 factor = _mm512_set1_ps(factors[i]);
            for (int h = 0; h < height; h++)
                sums[h][i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(exact[h]), _mm512_mul_ps(units[h], factor), sums[h][i]);
        }
    }
    for (int h = 0; h < height; h++)
        for (int i = 0; i < count; i++)
            _mm512_store_ps(sum_of(w, h, i), _mm512_sub_ps(_mm512_load_ps(sum_of(w, h, i)), sums[h][i]));
}

/* The same where each block has a minimum of its own. */
INLINE void take_block_minima(const sums_work *w, const int height, const int count)
{
    const rounding *r = w->rounding;
    const float *factors = (const float *)(w->activations + w->together * r->offsets) + w->skipped;
    const size_t minima = scales_size(r->columns);
    __m512 sums[PANELS][FEW];
    for (int h = 0; h < height; h++)
        for (int i = 0; i < count; i++)
            sums[h][i] = _mm512_setzero_ps();
    for (int64_t b = 0; b < r->columns / BLOCK; b++, factors += w->together) {
        __m512 minimum[PANELS];
        for (int h = 0; h < height; h++)
            minimum[h] = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(w->panels[h].panel + minima + b * ROWS * 2)));
#pragma GCC unroll 8
        for (int i = 0; i < count; i++)
            for (int h = 0; h < height; h++)
                sums[h][i] = _mm512_fnmadd_ps(minimum[h], _mm512_set1_ps(factors[i]), sums[h][i]);
    }
    for (int h = 0; h < height; h++)
        for (int i = 0; i < count; i++)
            _mm512_store_ps(sum_of(w, h, i), _mm512_sub_ps(_mm512_load_ps(sum_of(w, h, i)), sums[h][i]));
}

/* F16 and BF16: weights [columns][16 rows] times activations f32 [count][columns], in four sums by turns. */
INLINE void add_wide(const sums_work *w, const enum kind kind, const int count)
{
    const uint16_t *weights = (const uint16_t *)w->panels[0].panel;
    __m512 sums[TILE][4];
    for (int i = 0; i < count; i++)
        for (int j = 0; j < 4; j++)
            sums[i][j] = _mm512_setzero_ps();
    for (int64_t c = 0; c < w->rounding->columns; c += 4) {
        _mm_prefetch((const char *)(weights + c * ROWS) + AHEAD, _MM_HINT_T0);
        _mm_prefetch((const char *)(weights + c * ROWS) + AHEAD + 64, _MM_HINT_T0);
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
    }
    for (int i = 0; i < count; i++)
        _mm512_store_ps(sum_of(w, 0, i),
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
#define SUMS_FUNCTION(name, cases, ...)                                                    \
    static void name(const sums_work *w, int height, int count)                            \
    {                                                                                      \
        switch (height * 10 + count) {                                                     \
            cases(__VA_ARGS__)                                                             \
        default: break;                                                                    \
        }                                                                                  \
    }
#define OF_PACKED(...) SUMS_OF_SIX(1, __VA_ARGS__) SUMS(1, 7, __VA_ARGS__) SUMS(1, 8, __VA_ARGS__)
#define OF_SLICES(...) SUMS_OF_SIX(1, __VA_ARGS__) SUMS_OF_SIX(2, __VA_ARGS__)

SUMS_FUNCTION(q4_0, OF_PACKED, Q4_0, 1, 32, true)
SUMS_FUNCTION(q4_1, OF_PACKED, Q4_1, 1, 32, false)
SUMS_FUNCTION(q5_0, OF_PACKED, Q5_0, 1, 32, true)
SUMS_FUNCTION(q5_1, OF_PACKED, Q5_1, 1, 32, false)
SUMS_FUNCTION(q8_0, OF_PACKED, Q8_0, 1, 32, true)
SUMS_FUNCTION(iq4_nl, OF_PACKED, IQ4_NL, 1, 32, true)
SUMS_FUNCTION(q4_k, OF_PACKED, Q4_K, 8, 32, false)
SUMS_FUNCTION(q5_k, OF_PACKED, Q5_K, 8, 32, false)
SUMS_FUNCTION(q6_k, OF_PACKED, Q6_K, 8, 16, true)
SUMS_FUNCTION(unpacked, OF_SLICES, NO_FORMAT, 1, 32, true)
SUMS_FUNCTION(unpacked_minima, OF_SLICES, NO_FORMAT, 1, 32, false)
SUMS_FUNCTION(unpacked_super, OF_SLICES, NO_FORMAT, 8, 32, false)
SUMS_FUNCTION(unpacked_halves, OF_SLICES, NO_FORMAT, 8, 16, true)

typedef void add(const sums_work *, int height, int count);
static add *const packed[KINDS] = {
    [Q4_0] = q4_0, [Q4_1] = q4_1, [Q5_0] = q5_0, [Q5_1] = q5_1, [Q8_0] = q8_0,
    [IQ4_NL] = iq4_nl, [Q4_K] = q4_k, [Q5_K] = q5_k, [Q6_K] = q6_k,
};

/* The function that adds up slices of unpacked panels. */
static add *slices_of(const rounding *r)
{
    static add *const known[] = {unpacked, unpacked_minima, unpacked_super};
    return r->part == BLOCK ? known[r->minima] : unpacked_halves;
}

#define MINIMA_Q4_K(count) take_minima(w, K_LEVELS + 2048, height, count)
#define MINIMA_Q5_K(count) take_minima(w, K_HIGH + 512, height, count)
#define MINIMA_OF_BLOCKS(count) take_block_minima(w, height, count)
#define WIDE_F16(count) add_wide(w, F16, count)
#define WIDE_BF16(count) add_wide(w, BF16, count)

INLINE void minima_of(const sums_work *w, const int height, int count)
{
    switch (w->panels[0].kind) {
    case Q4_K: CASES(MINIMA_Q4_K) break;
    case Q5_K: CASES(MINIMA_Q5_K) break;
    default: CASES(MINIMA_OF_BLOCKS)
    }
}

static void minima(const sums_work *w, int height, int count) { height == 1 ? minima_of(w, 1, count) : minima_of(w, 2, count); }

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
            fetch(kind, s, b, p);
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

/* A thread's own memory: unpacked levels and scales of a slice of two panels, and the sums of all panels that are multiplied
 * at once, for up to MANY tokens: a multiple of the tokens that lie together by VNNI, and by AMX. */
enum {
    MANY = 11 * TILE * SIXTEEN / 2,
    UNPACKED = PANELS * SLICE * 512,
    SCALES = PANELS * SLICE * 2 * ROWS * sizeof(float),
    SUMS = PANELS * MANY * ROWS * sizeof(float)
};

size_t product_own(void) { return UNPACKED + SCALES + SUMS; }

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

/* Panels that are multiplied at once, and the tokens `first` to `last`, with their sums. */
typedef struct {
    const product *product;
    int height; /* panels: those of the gates, if there are any, before as many of the weights */
    int64_t panel, panels; /* the first panel of the result, and how many it has of them */
    int64_t first, last;
    source sources[PANELS];
    float *sums; /* [height][plane][16] */
    int64_t plane;
} tile;

static tile tile_of(const product *p, int64_t panel, int64_t panels, char *own)
{
    const size_t size = panel_size(p->kind, p->columns);
    tile t = {.product = p, .height = (int)panels * (p->gates ? 2 : 1), .panel = panel, .panels = panels,
              .sums = (float *)(own + UNPACKED + SCALES), .plane = least((p->tokens + SIXTEEN - 1) / SIXTEEN * SIXTEEN, MANY)};
    for (int h = 0; h < t.height; h++) {
        const uint8_t *weights = p->gates && h < panels ? p->gates : p->weights;
        const uint8_t *begins = weights + (panel + h % panels) * size;
        t.sources[h] = (source){.kind = p->kind, .panel = begins, .levels = levels_at(p->kind, p->columns),
                                .end = begins + size, .jump = (panels - 1) * size};
    }
    return t;
}

/* The work of a tile's panels from `h` on, for the tokens from one on that is the first of those that lie together. */
static sums_work work_of(const tile *t, int h, int64_t token)
{
    const product *p = t->product;
    const bool is_rounded = p->rounding.group > 0;
    sums_work w = {.activations = p->activations + token * (is_rounded ? p->rounding.size : p->stride),
                   .stride = p->stride,
                   .together = p->together,
                   .rounding = &p->rounding,
                   .last = p->columns / BLOCK,
                   .sums = t->sums + (h * t->plane + token - t->first) * ROWS,
                   .plane = t->plane};
    for (int i = h; i < t->height; i++)
        w.panels[i - h] = t->sources[i];
    return w;
}

/* Write the results of `count` tokens, up to as many as lie together, from one on that is the first of them. */
static void finish(const tile *t, int64_t token, int count)
{
    const product *p = t->product;
    if (p->rounding.minima) {
        sums_work w = work_of(t, 0, token);
        for (; w.skipped < count; w.skipped += TILE, w.sums += TILE * ROWS)
            minima(&w, t->height, (int)least(TILE, count - w.skipped));
    }
    const float *sums = t->sums + (token - t->first) * ROWS, *others = sums + t->panels * t->plane * ROWS;
    char *result = p->result + token * p->result_stride + t->panel * ROWS * sizeof(float);
    const int64_t left = p->rows - (t->panel + t->panels - 1) * ROWS;
    const __mmask16 inside = left >= ROWS ? 0xffff : (__mmask16)((1u << left) - 1);
    for (int64_t i = 0; i < count; i++, result += p->result_stride)
        for (int64_t h = 0; h < t->panels; h++) {
            const int64_t at = (h * t->plane + i) * ROWS;
            __m512 value = _mm512_load_ps(sums + at);
            if (p->gates)
                value = gated(value, _mm512_load_ps(others + at), p->gelu);
            _mm512_mask_storeu_ps((float *)result + h * ROWS, h == t->panels - 1 ? inside : 0xffff, value);
        }
}

/* A slice of panels by AMX, for all tokens. */
static void multiply_tiles(const tile *t, int64_t first, int64_t last, const char *own)
{
    const product *p = t->product;
    const int parts = BLOCK / p->rounding.part;
    for (int64_t token = t->first; token < t->last; token += SIXTEEN)
        for (int h = 0; h < t->height; h++) {
            const sums_work w = work_of(t, h, token);
            if (first == 0)
                memset(w.sums, 0, SIXTEEN * ROWS * sizeof(float));
            const tile_work tiles = {.levels = (const int8_t *)own + h * SLICE * 512,
                                     .scales = (const float *)(own + UNPACKED) + h * SLICE * parts * ROWS,
                                     .activations = w.activations,
                                     .rounding = &p->rounding,
                                     .first = first,
                                     .blocks = last - first,
                                     .sums = w.sums,
                                     .count = (int)least(SIXTEEN, t->last - token)};
            amx_multiply(p->path, &tiles);
            if (last == p->columns / BLOCK && h == t->height - 1)
                finish(t, token, tiles.count);
        }
}

/* The results of a tile, of many tokens: levels are unpacked slice by slice, once for all. */
static void multiply_many(const tile *t, char *own)
{
    const product *p = t->product;
    const int64_t blocks = p->columns / BLOCK;
    const int parts = BLOCK / p->rounding.part;
    const bool tiles = p->path != PATH_VNNI;
    for (int64_t first = 0; first < blocks; first += SLICE) {
        const int64_t last = least(first + SLICE, blocks);
        sums_work w = work_of(t, 0, t->first);
        for (int h = 0; h < t->height; h++) {
            uint8_t *levels = (uint8_t *)own + h * SLICE * 512;
            float *scales = (float *)(own + UNPACKED) + h * SLICE * parts * ROWS;
            unpack(&t->sources[h], first, last, tiles, levels, scales);
            w.panels[h].panel = levels, w.panels[h].unpacked = scales;
        }
        if (tiles) {
            multiply_tiles(t, first, last, own);
            continue;
        }
        w.first = first, w.last = last;
        for (int64_t token = t->first; token < t->last; token += TILE) {
            const int count = (int)least(TILE, t->last - token);
            slices_of(&p->rounding)(&w, t->height, count);
            if (last == blocks)
                finish(t, token, count);
            w.activations += TILE * p->rounding.size, w.sums += TILE * ROWS;
        }
    }
}

/* The results of a tile, of few tokens. Panels are read one by one, from one end to the other: several at once are read more slowly. */
static void multiply_few(const tile *t)
{
    const int count = (int)(t->last - t->first);
    for (int h = 0; h < t->height; h++) {
        const sums_work w = work_of(t, h, t->first);
        packed[t->product->kind](&w, 1, count);
    }
    finish(t, t->first, count);
}

/* The results of a tile, one panel of 16-bit weights. */
static void multiply_wide(const tile *t)
{
    for (int64_t token = t->first; token < t->last; token += TILE) {
        const sums_work w = work_of(t, 0, token);
        const int count = (int)least(TILE, t->last - token);
        wide(&w, count);
        finish(t, token, count);
    }
}

void multiply(const product *p, int64_t first, int64_t last, char *own)
{
    const bool is_wide = p->kind == F16 || p->kind == BF16, few = is_few(p->path, p->tokens);
    const int64_t most = is_wide || few || p->gates ? 1 : PANELS;
    /* Where there are more tokens than a tile has room for, they are divided into parts of like size. */
    const int64_t parts = (p->tokens + MANY - 1) / MANY, together = TILE * SIXTEEN / 2;
    const int64_t tokens = parts > 1 ? ((p->tokens + parts - 1) / parts + together - 1) / together * together : p->tokens;
    for (int64_t panel = first, count; panel < last; panel += count) {
        count = least(most, last - panel);
        tile t = tile_of(p, panel, count, own);
        for (; t.first < p->tokens; t.first = t.last) {
            t.last = least(t.first + tokens, p->tokens);
            is_wide ? multiply_wide(&t) : few ? multiply_few(&t) : multiply_many(&t, own);
        }
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
