/* What the files of this folder know of each other. */
#ifndef THREAD_KERNELS_H
#define THREAD_KERNELS_H

#include "abi.h"
#include "product.h"

#include <stdatomic.h>
#include <string.h>

/* Operations, whatever their numbers are in this release of ggml. */
enum operation { OTHER, NOTHING, MUL_MAT, ATTENTION, RMS_NORM, MUL, ADD, ROPE, SET_ROWS, GET_ROWS, GLU, SCALE, UNARY };

/* The threads that compute a graph together. */
typedef struct {
    int count;
    _Atomic int arrived;
    _Atomic unsigned phase;
    _Atomic int sleeping; /* who wait for the next phase, and no longer spin */
} team;

/* Which cells of one KV memory the tokens of a step see, listed in the order of their positions.
 *
 * Where these positions follow one another, the place of a cell is its position; else it is its rank among those that a
 * token sees. Layers with a sliding window have a memory, a mask and a sight of their own. */
typedef struct sight {
    const void *memory; /* keys of the first layer that has it */
    const tensor *mask; /* of the graph under way; NULL if that does not use it */
    bool looked;
    int32_t *position; /* [known] of what each cell holds; -1 where that is not known */
    int known;
    int tokens;
    int *group;        /* [tokens] of each token; what the tokens of a group see lies in one list */
    int *from, *until; /* [tokens] places of the first cell that a token sees, and of the one after the last */
    int groups;
    int32_t **cells; /* [groups] cells by place, from place `origin` on */
    int *length;     /* [groups] of the list */
    int *origin;     /* [groups] a multiple of SEGMENT */
    int *head;       /* [groups] place of the first cell that is seen; what the list has before it only fills it up */
    int *capacity;
    int **same; /* of each group and chunk of its list: the first group that has the same cells in it */
    int *same_capacity;
    int group_capacity, token_capacity;
    int32_t *scratch;
    int scratch_capacity;
} sight;

/* Cosines and sines of the angles by which ROPE turns the pairs of each token: for each token all cosines, then all sines. */
typedef struct {
    const tensor *positions, *factors;
    int32_t parameters[16];
    float *values;
    size_t size;
} turns;

/* What one context has: kept from one graph to the next. */
typedef struct {
    int threads;
    char *shared; /* memory for the operation under way */
    size_t shared_size;
    char *own; /* memory for each thread, `own_size` bytes */
    size_t own_size;
    int own_threads;
    _Atomic int *next; /* of each node: the first piece of work that no thread has taken */
    int next_size;
    turns *turns; /* [turn_count] those of the graph under way; memory for more is kept */
    int turn_count, turn_capacity;
    sight *sights;
    int sight_count;
    enum path path; /* what computes products */
} state;

/* One thread's part in one operation. */
typedef struct {
    state *state;
    team *team;
    _Atomic int *next;
    int index;
    char *own;
    const tensor *rounded; /* whose activations `shared` holds, for `matmul` */
    rounding rounding;     /* and as what */
} part;

void meet(team *team);
void *grown(void *memory, size_t *size, size_t wanted);

static inline int taken(part *part) { return atomic_fetch_add_explicit(part->next, 1, memory_order_relaxed); }

static inline int64_t rows_of(const tensor *t) { return t->ne[1] * t->ne[2] * t->ne[3]; }

static inline char *row_of(const tensor *t, int64_t row)
{
    int64_t i1 = row % t->ne[1], i2 = row / t->ne[1] % t->ne[2], i3 = row / t->ne[1] / t->ne[2];
    return t->data + i1 * t->nb[1] + i2 * t->nb[2] + i3 * t->nb[3];
}

/* matmul.c */
bool packs(const tensor *weight);
size_t packed_size(const tensor *weight);
void pack(const tensor *weight, const void *from);
size_t matmul_shared(const tensor *t, enum path path);
void matmul(part *part, const tensor *t);

/* attention.c */
size_t attention_shared(const tensor *t);
size_t attention_own(const tensor *t);
bool attends(const tensor *t);
void attention(part *part, const tensor *t);

/* sight.c */
sight *sight_of(state *state, const tensor *attention);
void locate(sight *sight, const tensor *places, const tensor *positions, int cells);
void look(sight *sight, int cells, int tokens);
void look_away(sight *sight);

/* rowwise.c */
bool turnable(const tensor *t);
void add_turns(state *state, const tensor *t);
void compute_turns(part *part);
void rms_norm(part *part, const tensor *t);
void combine(part *part, const tensor *t, bool times);
void scale(part *part, const tensor *t);
void hyperbolic_tangent(part *part, const tensor *t);
void rope(part *part, const tensor *t);
void set_rows(part *part, const tensor *t);
void get_rows(part *part, const tensor *t);
void glu(part *part, const tensor *t, bool gelu);

enum { CHUNK = 64, SEGMENT = 256 }; /* cells that attention takes at once, and that it adds up by themselves */

#endif
