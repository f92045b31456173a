/* Formats of weights: how files have them, and how they are packed. Plain C: it runs once, as a model is loaded. */
#include "formats.h"

#include <string.h>

const format formats[KINDS] = {
    [Q4_0] = {"q4_0", 2, 32, 18, 256, 8, 1, 32, NO_MINIMA},
    [Q4_1] = {"q4_1", 3, 32, 20, 256, 0, 1, 32, OF_BLOCKS},
    [Q5_0] = {"q5_0", 6, 32, 22, 320, 16, 1, 32, NO_MINIMA},
    [Q5_1] = {"q5_1", 7, 32, 24, 320, 0, 1, 32, OF_BLOCKS},
    [Q8_0] = {"q8_0", 8, 32, 34, 512, 128, 1, 32, NO_MINIMA},
    [IQ4_NL] = {"iq4_nl", 20, 32, 18, 256, 128, 1, 32, NO_MINIMA},
    [Q4_K] = {"q4_K", 12, 256, 144, K_LEVELS + 2048, 0, 8, 32, OF_SUPERBLOCKS},
    [Q5_K] = {"q5_K", 13, 256, 176, K_HIGH + 512, 0, 8, 32, OF_SUPERBLOCKS},
    [Q6_K] = {"q6_K", 14, 256, 210, Q6_HIGH + 1024, 32, 8, 16, NO_MINIMA},
    [F16] = {"f16", 1, 32, 64, 1024, 0, 0, 32, NO_MINIMA},
    [BF16] = {"bf16", 30, 32, 64, 1024, 0, 0, 32, NO_MINIMA},
};

const int8_t iq4_nl_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

enum kind kind_of_type(int type)
{
    for (int kind = NO_FORMAT + 1; kind < KINDS; kind++)
        if (formats[kind].type == type)
            return kind;
    return NO_FORMAT;
}

float half_to_float(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
    float value;
    if (exponent == 0) { /* zero, or a subnormal number */
        value = (float)fraction / 16777216.0f;
        return sign ? -value : value;
    }
    const uint32_t bits = sign | (exponent == 31 ? 0x7f800000 : (exponent + 112) << 23) | fraction << 13;
    memcpy(&value, &bits, sizeof value);
    return value;
}

int64_t panels_of(int64_t rows) { return (rows + ROWS - 1) / ROWS; }

/* Whether a format has blocks of 32 columns with scales of their own. */
static bool by_blocks(enum kind kind) { return formats[kind].columns == BLOCK && kind != F16 && kind != BF16; }

size_t scales_size(int64_t columns) { return (columns / BLOCK * ROWS * sizeof(uint16_t) + 63) / 64 * 64; }

size_t levels_at(enum kind kind, int64_t columns)
{
    return by_blocks(kind) ? scales_size(columns) * (formats[kind].minima ? 2 : 1) : 0;
}

size_t panel_size(enum kind kind, int64_t columns)
{
    return levels_at(kind, columns) + columns / formats[kind].columns * formats[kind].kept;
}

static uint16_t half_at(const uint8_t *from)
{
    uint16_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

/* Scale and minimum of block `b` of a superblock in Q4_K or Q5_K: 6 bits each, in 12 bytes. */
static void six_bits(const uint8_t *packed, int b, uint8_t *scale, uint8_t *minimum)
{
    if (b < 4) {
        *scale = packed[b] & 63;
        *minimum = packed[b + 4] & 63;
    } else {
        *scale = (packed[b + 4] & 15) | packed[b - 4] >> 6 << 4;
        *minimum = packed[b + 4] >> 4 | packed[b] >> 6 << 4;
    }
}

/* The levels, [columns of a block], of one block of a file. F16 and BF16 have none. */
static void levels_of(enum kind kind, const uint8_t *restrict from, uint8_t *restrict levels)
{
    switch (kind) {
    case Q4_0:
    case Q4_1:
    case IQ4_NL:
        from += kind == Q4_1 ? 4 : 2;
        for (int i = 0; i < 16; i++)
            levels[i] = from[i] & 15, levels[i + 16] = from[i] >> 4;
        break;
    case Q5_0:
    case Q5_1: {
        uint32_t high;
        from += kind == Q5_1 ? 4 : 2;
        memcpy(&high, from, sizeof high);
        for (int i = 0; i < 16; i++) {
            levels[i] = (from[4 + i] & 15) | (high >> i & 1) << 4;
            levels[i + 16] = from[4 + i] >> 4 | (high >> (i + 16) & 1) << 4;
        }
        break;
    }
    case Q8_0:
        for (int i = 0; i < 32; i++)
            levels[i] = (uint8_t)(from[2 + i] + 128);
        break;
    case Q4_K:
    case Q5_K:
        for (int b = 0; b < 8; b++) {
            const uint8_t *low = from + (kind == Q4_K ? 16 : 48) + b / 2 * 32, *high = from + 16;
            for (int i = 0; i < 32; i++)
                levels[b * 32 + i] = b % 2 ? low[i] >> 4 : low[i] & 15;
            for (int i = 0; kind == Q5_K && i < 32; i++)
                levels[b * 32 + i] |= (high[i] >> b & 1) << 4;
        }
        break;
    case Q6_K:
        for (int quarter = 0; quarter < 8; quarter++) { /* 32 levels each; four make a half of the block */
            const uint8_t *low = from + quarter / 4 * 64 + quarter % 2 * 32, *high = from + 128 + quarter / 4 * 32;
            for (int i = 0; i < 32; i++)
                levels[quarter * 32 + i] =
                    (quarter % 4 < 2 ? low[i] & 15 : low[i] >> 4) | (high[i] >> (2 * (quarter % 4)) & 3) << 4;
        }
        break;
    case NO_FORMAT:
    case F16:
    case BF16:
    case KINDS: break;
    }
}

void unpack_row(enum kind kind, int64_t columns, const void *from, uint8_t *levels, float *scales)
{
    const format *f = &formats[kind];
    for (int64_t block = 0; block < columns / f->columns; block++) {
        const uint8_t *source = (const uint8_t *)from + block * f->bytes;
        levels_of(kind, source, levels + block * f->columns);
        if (f->columns == BLOCK) {
            scales[block] = half_to_float(half_at(source));
            for (int i = 0; kind == IQ4_NL && i < BLOCK; i++)
                levels[block * BLOCK + i] = (uint8_t)(iq4_nl_levels[levels[block * BLOCK + i]] + 128);
        } else if (kind == Q6_K) {
            for (int i = 0; i < 16; i++)
                scales[block * 16 + i] = half_to_float(half_at(source + 208)) * (float)(int8_t)source[192 + i];
        } else {
            for (int b = 0; b < 8; b++) {
                uint8_t scale, minimum;
                six_bits(source + 4, b, &scale, &minimum);
                scales[block * 8 + b] = half_to_float(half_at(source)) * (float)scale;
            }
        }
    }
}

/* Four levels at once, as the bytes of a number. */
static uint32_t four_at(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

static void put_four(uint32_t value, uint8_t *to) { memcpy(to, &value, sizeof value); }

/* Two levels to a byte: those of vectors 2 p and 2 p + 1. */
static void put_nibbles(const uint8_t *levels, int row, uint8_t *to)
{
    for (int p = 0; p < 4; p++)
        put_four((four_at(levels + p * 8) & 0x0f0f0f0f) | (four_at(levels + p * 8 + 4) & 0x0f0f0f0f) << 4,
                 to + p * 64 + row * 4);
}

/* The fifth bits: a mask of 64 bits for each vector, four of them for a row. */
static void put_fifth(const uint8_t *levels, int row, uint8_t *to)
{
    for (int k = 0; k < 8; k++) {
        const uint32_t bits = four_at(levels + k * 4) >> 4 & 0x01010101;
        to[k * 8 + row / 2] |= (uint8_t)((bits | bits >> 7 | bits >> 14 | bits >> 21) & 15) << (row % 2 * 4);
    }
}

/* The upper two bits of six: those of four vectors to a vector. */
static void put_upper(const uint8_t *levels, int row, uint8_t *to)
{
    for (int k = 0; k < 8; k++) {
        uint8_t *at = to + k / 4 * 64 + row * 4;
        put_four(four_at(at) | (four_at(levels + k * 4) >> 4 & 0x03030303) << (2 * (k % 4)), at);
    }
}

/* A level to a byte. */
static void put_bytes(const uint8_t *levels, int row, uint8_t *to)
{
    for (int k = 0; k < 8; k++)
        put_four(four_at(levels + k * 4), to + k * 64 + row * 4);
}

/* One row's block of 32 columns into its panel. */
static void put_block(enum kind kind, const uint8_t *levels, int row, int64_t block, uint8_t *panel, int64_t columns)
{
    uint8_t *to = panel + levels_at(kind, columns) + block * formats[kind].kept;
    switch (kind) {
    case Q8_0: put_bytes(levels, row, to); break;
    case Q5_0:
    case Q5_1: put_fifth(levels, row, to + 256); /* fall through */
    default: put_nibbles(levels, row, to);
    }
}

/* One row's superblock, [256] levels of the bytes `from`, into its panel. */
static void put_superblock(enum kind kind, const uint8_t *from, const uint8_t *levels, int row, uint8_t *to)
{
    memcpy(to + K_SCALE + 2 * row, from + (kind == Q6_K ? 208 : 0), 2);
    if (kind == Q6_K)
        for (int i = 0; i < 16; i++)
            to[Q6_SCALES + i * ROWS + row] = from[192 + i];
    else
        memcpy(to + K_MINIMUM + 2 * row, from + 2, 2);
    for (int b = 0; b < 8; b++) {
        if (kind == Q6_K) {
            put_nibbles(levels + b * 32, row, to + Q6_LEVELS + b * 256);
            put_upper(levels + b * 32, row, to + Q6_HIGH + b * 128);
            continue;
        }
        uint8_t *minimum = to + K_MINIMA + (b / 2 * ROWS + row) * 2 + b % 2;
        six_bits(from + 4, b, to + K_SCALES + b * ROWS + row, minimum);
        put_nibbles(levels + b * 32, row, to + K_LEVELS + b * 256);
        if (kind == Q5_K)
            put_fifth(levels + b * 32, row, to + K_HIGH + b * 64);
    }
}

/* Up to 16 rows of a file, [rows][columns], into their panel; the rest of its rows are 0. */
static void pack_panel(enum kind kind, int64_t rows, int64_t columns, const uint8_t *from, uint8_t *panel)
{
    const format *f = &formats[kind];
    const int64_t blocks = columns / f->columns;
    uint8_t levels[SUPER];
    memset(panel, 0, panel_size(kind, columns));
    for (int row = 0; row < rows; row++)
        for (int64_t block = 0; block < blocks; block++) {
            const uint8_t *source = from + ((int64_t)row * blocks + block) * f->bytes;
            if (kind == F16 || kind == BF16) {
                for (int i = 0; i < BLOCK; i++)
                    memcpy(panel + ((block * BLOCK + i) * ROWS + row) * 2, source + 2 * i, 2);
                continue;
            }
            levels_of(kind, source, levels);
            if (f->columns == SUPER) {
                put_superblock(kind, source, levels, row, panel + block * f->kept);
                continue;
            }
            memcpy(panel + (block * ROWS + row) * 2, source, 2);
            if (f->minima)
                memcpy(panel + scales_size(columns) + (block * ROWS + row) * 2, source + 2, 2);
            put_block(kind, levels, row, block, panel, columns);
        }
}

void pack_panels(enum kind kind, int64_t rows, int64_t columns, const void *from, void *to)
{
    const size_t pitch = panel_size(kind, columns), row = columns / formats[kind].columns * formats[kind].bytes;
    const int64_t panels = panels_of(rows);
#pragma omp parallel for schedule(static)
    for (int64_t panel = 0; panel < panels; panel++) {
        const int64_t left = rows - panel * ROWS;
        pack_panel(kind, left < ROWS ? left : ROWS, columns, (const uint8_t *)from + panel * ROWS * row,
                   (uint8_t *)to + panel * pitch);
    }
}
