/* The results that the kernels should give, a number at a time: to be read, and compared with, to the last bit. */
#include "product.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t aligned(size_t size) { return (size + 63) / 64 * 64; }

rounding rounding_of(enum kind kind, int64_t columns)
{
    const format *f = &formats[kind];
    rounding r = {.group = f->group, .part = f->part, .center = f->center, .minima = f->minima, .columns = columns};
    const int64_t blocks = columns / BLOCK;
    r.groups = f->group ? (blocks + f->group - 1) / f->group : 0;
    r.scales = aligned(columns);
    r.ratios = r.scales + aligned(r.groups * sizeof(float));
    r.offsets = r.ratios + (f->group > 1 ? aligned(r.groups * sizeof(float)) : 0);
    r.size = r.offsets + aligned(f->minima == OF_SUPERBLOCKS ? blocks * sizeof(int16_t) : columns / f->part * sizeof(int32_t));
    return r;
}

/* The largest size of `count` numbers. */
static float largest(const float *from, int64_t count)
{
    float most = 0;
    for (int64_t i = 0; i < count; i++)
        most = fmaxf(most, fabsf(from[i]));
    return most;
}

/* As `round_activation`: from f32 [columns] to numbers, scales, ratios and sums (`rounding`). */
void reference_round(const rounding *r, const float *from, char *to, int index, int together)
{
    int8_t *numbers = (int8_t *)to;
    float *scales = (float *)(to + together * r->scales), *ratios = (float *)(to + together * r->ratios);
    /* A group far smaller than the rest does not get a scale of its own, so that ratios stay within bounds. */
    const float least = r->group > 1 ? largest(from, r->columns) * 0x1p-40f : 0;
    float before = 1;
    for (int64_t g = 0; g < r->groups; g++) {
        const int64_t first = g * r->group * BLOCK, left = r->columns - first;
        const int64_t last = first + (left < r->group * BLOCK ? left : r->group * BLOCK);
        const float most = fmaxf(largest(from + first, last - first), least), factor = most > 0 ? 127.0f / most : 0;
        for (int64_t i = first; i < last; i++)
            numbers[(i / BLOCK * together + index) * BLOCK + i % BLOCK] = (int8_t)rintf(from[i] * factor);
        const float scale = most > 0 || r->group == 1 ? most / 127.0f : before;
        scales[g * together + index] = scale;
        if (r->group > 1)
            ratios[g * together + index] = before / scale;
        before = scale;
    }
    for (int64_t part = 0; part < r->columns / r->part; part++) {
        int sum = 0;
        for (int64_t i = part * r->part; i < (part + 1) * r->part; i++)
            sum += numbers[(i / BLOCK * together + index) * BLOCK + i % BLOCK];
        if (r->minima == OF_SUPERBLOCKS)
            ((int16_t *)(to + together * r->offsets))[(part / 8 * together + index) * 8 + part % 8] = (int16_t)sum;
        else if (r->minima)
            ((float *)(to + together * r->offsets))[part * together + index] =
                scales[part * together + index] * (float)sum;
        else
            ((int32_t *)(to + together * r->offsets))[part * together + index] = -r->center * sum;
    }
}

/* The product of a row of F16 or BF16, [columns], with an activation f32 [columns]: in four sums, one for each column modulo 4. */
static float wide_product(enum kind kind, int64_t columns, const uint16_t *weights, const float *activation)
{
    float sums[4] = {0};
    for (int64_t i = 0; i < columns; i++) {
        const uint32_t bits = (uint32_t)weights[i] << 16;
        float weight;
        memcpy(&weight, &bits, sizeof weight);
        if (kind == F16)
            weight = half_to_float(weights[i]);
        sums[i % 4] = fmaf(weight, activation[i], sums[i % 4]);
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* The product of a row, levels [columns] and scales [parts], with a rounded activation, but for its minima. */
static float rounded_product(const rounding *r, const uint8_t *levels, const float *scales, const char *activation)
{
    const float *factors = (const float *)(activation + r->scales), *ratios = (const float *)(activation + r->ratios);
    float sum = 0;
    for (int64_t part = 0; part < r->columns / r->part; part++) {
        const int64_t block = part * r->part / BLOCK;
        if (r->group > 1 && block > 0 && part * r->part % (r->group * BLOCK) == 0)
            sum *= ratios[block / r->group];
        int exact = 0;
        for (int i = 0; i < r->part; i++)
            exact += (levels[part * r->part + i] - r->center) * ((const int8_t *)activation)[part * r->part + i];
        sum = fmaf((float)exact, r->group > 1 ? scales[part] : scales[part] * factors[block], sum);
    }
    return r->group > 1 ? sum * factors[r->groups - 1] : sum;
}

/* What the minima of a row of a file take from the product. */
static float minimum_product(const rounding *r, const uint8_t *row, enum kind kind, const char *activation)
{
    const float *factors = (const float *)(activation + r->scales);
    const int16_t *sums = (const int16_t *)(activation + r->offsets);
    float sum = 0;
    for (int64_t b = 0; r->minima == OF_BLOCKS && b < r->columns / BLOCK; b++) {
        uint16_t minimum;
        memcpy(&minimum, row + b * formats[kind].bytes + 2, sizeof minimum);
        sum = fmaf(-half_to_float(minimum), ((const float *)sums)[b], sum);
    }
    if (r->minima == OF_BLOCKS)
        return sum;
    for (int64_t s = 0; s < r->columns / SUPER; s++) {
        const uint8_t *source = row + s * formats[kind].bytes, *packed = source + 4;
        uint16_t unit;
        memcpy(&unit, source + 2, sizeof unit);
        int exact = 0;
        for (int b = 0; b < 8; b++) {
            const int minimum = b < 4 ? packed[b + 4] & 63 : packed[b + 4] >> 4 | packed[b] >> 6 << 4;
            exact += minimum * sums[s * 8 + b];
        }
        sum = fmaf((float)exact, half_to_float(unit) * factors[s], sum);
    }
    return sum;
}

bool reference_multiply(enum kind kind, int64_t rows, int64_t columns, const void *weights, int64_t tokens,
                        const float *activations, float *result)
{
    const rounding r = rounding_of(kind, columns);
    const size_t row_size = columns / formats[kind].columns * formats[kind].bytes;
    char *rounded = r.group ? aligned_alloc(64, tokens * r.size) : NULL;
    uint8_t *levels = malloc(columns);
    float *scales = malloc(columns / r.part * sizeof(float));
    if ((r.group && !rounded) || !levels || !scales)
        return free(rounded), free(levels), free(scales), false;
    for (int64_t t = 0; r.group && t < tokens; t++)
        reference_round(&r, activations + t * columns, rounded + t * r.size, 0, 1);
    for (int64_t row = 0; row < rows; row++) {
        const uint8_t *source = (const uint8_t *)weights + row * row_size;
        if (r.group)
            unpack_row(kind, columns, source, levels, scales);
        for (int64_t t = 0; t < tokens; t++) {
            float *to = result + t * rows + row;
            if (!r.group)
                *to = wide_product(kind, columns, (const uint16_t *)source, activations + t * columns);
            else
                *to = rounded_product(&r, levels, scales, rounded + t * r.size);
            if (r.minima)
                *to -= minimum_product(&r, source, kind, rounded + t * r.size);
        }
    }
    free(rounded), free(levels), free(scales);
    return true;
}
