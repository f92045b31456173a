/* Declarations that the files of products share: how activations are rounded, and the work of one call. */
#ifndef THREAD_PRODUCT_H
#define THREAD_PRODUCT_H

#include "formats.h"

/* How products are computed: by all paths with the same whole numbers, rounded in the same order, so that their results have the same bits. */
enum path { PATH_VNNI, PATH_AMX, PATH_AMX_EMULATED };

enum { PANELS = 2 /* that are best multiplied at once */, SIXTEEN = 16 /* tokens of a tile of AMX */ };

/* How activations are rounded depends on the format of the weights. The activations of a few tokens lie together, so that
 * numbers that are multiplied next lie next. Of `n` tokens that lie together, there are, one after another,
 * - for each block of 32 columns and each token: 32 numbers, signed, 8 bits, multiples of the scale of a group of blocks;
 * - for each group and each token: that scale (f32);
 * - for each group of several blocks and each token: by what a sum is multiplied where the group begins (f32), which is
 *   the scale before over its own;
 * - for each part of a block and each token: minus the center of the weights' levels times the sum of its numbers (i32);
 *   where blocks have minima: the sum of its numbers times their scale (f32); where these are whole numbers, for each
 *   superblock and each token: the sums of the numbers of its 8 blocks (i16). */
typedef struct {
    int group;           /* blocks that share a scale; 0 for none: activations stay f32 */
    int part;            /* columns of a part of a block */
    int center;          /* center of the weights' levels */
    enum minima minima;  /* minima of the weights */
    int64_t columns;     /* columns of an activation */
    int64_t groups;      /* groups of an activation */
    size_t scales, ratios, offsets, size; /* for one token, in bytes: where each part begins, and the size of all */
} rounding;

/* How activations of so many columns are rounded for weights of a format. */
rounding rounding_of(enum kind kind, int64_t columns);

/* Whether activations that were rounded for one format serve another as well. */
static inline bool same_rounding(const rounding *a, const rounding *b)
{
    return a->group == b->group && a->part == b->part && a->center == b->center && a->minima == b->minima &&
           a->columns == b->columns;
}

/* A product of packed weights [rows][columns] with activations [tokens][columns]; `result` is f32 [tokens][rows]. */
typedef struct {
    enum kind kind;
    enum path path;
    int64_t rows, columns, tokens;
    const uint8_t *weights;  /* panels, as `pack_panels` leaves them */
    const uint8_t *gates;    /* weights of the same kind and shape, or NULL: then each result is the activation function of
                                the product with them, times the product with `weights` */
    bool gelu;               /* GELU is that function, not SiLU */
    const char *activations; /* f32 for F16 and BF16 weights, else rounded */
    size_t stride;           /* bytes from one token's activation to the next, f32 */
    int together;            /* rounded activations that lie together; there is room for a multiple of them */
    rounding rounding;
    char *result;
    size_t result_stride; /* bytes from one token's results to the next */
} product;

/* Bytes of a thread's own memory for products. */
size_t product_own(void);

/* How many activations are to lie together for products of so many tokens. */
int together_for(enum path path, int64_t tokens);

/* Round one activation, f32 [columns]: the one at `index` of the `together` that lie at `to`. */
void round_activation(const rounding *r, const float *from, char *to, int index, int together);

/* The results of panels `first` to `last`, for all tokens. `own` is memory of the thread, `product_own` bytes. */
void multiply(const product *p, int64_t first, int64_t last, char *own);

/* What a processor can do. */
bool has_vnni(void);
bool has_amx(void);

/* AMX (amx.c): whether the system lets this process use it. A thread that has multiplied by it calls `amx_end` afterwards. */
bool amx_permitted(void);
void amx_end(void);

/* Tokens times a slice of a panel whose levels are signed. */
typedef struct {
    const int8_t *levels;    /* [blocks][8][16][4] vectors of 16 rows by 4 columns */
    const float *scales;     /* [blocks][parts of a block][16] */
    const char *activations; /* of 16 tokens, which lie together */
    const rounding *rounding;
    int64_t first, blocks; /* the slice: blocks of 32 columns */
    float *sums;           /* [16 tokens][16 rows], to which products are added */
    int count;             /* the first tokens, which are wanted */
} tile_work;

/* Add the products of a slice to the sums, by AMX or, as PATH_AMX_EMULATED, by plain C. */
void amx_multiply(enum path path, const tile_work *w);

/* reference.c: the same in plain C, a number at a time. Weights [rows][columns] are as files have them, activations f32
 * [tokens][columns] and results f32 [tokens][rows]; false where memory is short. */
void reference_round(const rounding *r, const float *from, char *to, int index, int together);
bool reference_multiply(enum kind kind, int64_t rows, int64_t columns, const void *weights, int64_t tokens,
                        const float *activations, float *result);

#endif
