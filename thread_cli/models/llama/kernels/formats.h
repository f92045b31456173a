/* The formats of weights that the kernels multiply, as files have them and as they are kept in memory.
 *
 * In memory 16 rows make a panel. Of each block of 32 columns a panel has 8 vectors of 64 levels: byte 4 r + i of vector k
 * is the level of row r, column 4 k + i, as the processor multiplies them (VNNI, and AMX's second operand). A level is an
 * unsigned number of 8 bits; a weight is scale * (level - center), or scale * level - minimum where blocks have minima. */
#ifndef THREAD_FORMATS_H
#define THREAD_FORMATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ROWS = 16, BLOCK = 32, SUPER = 256 };

/* Q4_0, Q5_0, Q8_0, IQ4_NL: a panel is all scales (f16), then the levels of all blocks.
 * Q4_1, Q5_1: all scales, all minima (f16), then the levels.
 * Q4_K, Q5_K, Q6_K: a panel is its superblocks of 256 columns, each with its scales and its levels.
 * F16, BF16: a panel is its columns, 16 numbers each. */
enum kind { NO_FORMAT, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL, Q4_K, Q5_K, Q6_K, F16, BF16, KINDS };

/* The amount that is taken from the levels of a block, besides a center: nothing; a minimum, f16, which is added, not taken, as files have
 * it; or a whole number times the unit of the superblock. */
enum minima { NO_MINIMA, OF_BLOCKS, OF_SUPERBLOCKS };

typedef struct {
    const char *name; /* as ggml has it */
    int type;         /* its number there */
    int columns;      /* columns of a block of the file */
    int bytes;        /* bytes of a block of the file */
    int kept;         /* bytes of a panel for as many columns, the scales of Q4_0 and its like left out */
    int center;       /* number that is taken from each level */
    int group;        /* blocks of 32 that share the scale of an activation */
    int part;         /* columns that share a scale: 32 or 16 */
    enum minima minima;
} format;

/* Where the parts of a superblock lie in memory; each begins at a multiple of 64. */
enum {
    K_SCALE = 0,                 /* f16, 16 rows */
    K_MINIMUM = 32,              /* f16, 16 rows (Q4_K, Q5_K) */
    K_SCALES = 64,               /* u8, 8 blocks of 16 rows (Q4_K, Q5_K) */
    K_MINIMA = K_SCALES + 128,   /* u8, 4 pairs of blocks, 16 rows, 2 (Q4_K, Q5_K) */
    K_LEVELS = K_MINIMA + 128,   /* 8 blocks of 4 vectors of two levels each */
    K_HIGH = K_LEVELS + 2048,    /* the fifth bits: 8 blocks of 8 masks of 64 (Q5_K) */
    Q6_SCALES = 64,              /* i8, 16 halves of blocks, 16 rows (Q6_K) */
    Q6_LEVELS = Q6_SCALES + 256, /* as above */
    Q6_HIGH = Q6_LEVELS + 2048,  /* the upper two bits: 8 blocks of 2 vectors of four each */
};

extern const format formats[KINDS];
extern const int8_t iq4_nl_levels[16]; /* each with 128 taken from it, that is as signed numbers */

/* The kind of ggml's type; NO_FORMAT if it is none of these. */
enum kind kind_of_type(int type);

/* Panels of a matrix, and bytes of each. */
int64_t panels_of(int64_t rows);
size_t panel_size(enum kind kind, int64_t columns);

/* Write rows of a file, [rows][columns], into their panels; rows that the last panel has beyond them are 0. */
void pack_panels(enum kind kind, int64_t rows, int64_t columns, const void *from, void *to);

/* One row of a file, with levels: `levels` [columns], `scales` [parts of blocks]. */
void unpack_row(enum kind kind, int64_t columns, const void *from, uint8_t *levels, float *scales);

/* Where the levels of a panel begin whose format has blocks of 32, in bytes. */
size_t levels_at(enum kind kind, int64_t columns);

/* Bytes of the scales of a panel whose format has blocks of 32; as many as of minima, where it has them. */
size_t scales_size(int64_t columns);

float half_to_float(uint16_t half);

#endif
