/* Declarations that the files of this folder share. */
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
    int count;              /* threads of the team */
    _Atomic int arrived;    /* threads that have come to the barrier of this phase */
    _Atomic unsigned phase; /* barriers passed so far */
    _Atomic int sleeping;   /* threads that wait for the next phase, and no longer spin */
} team;

/* Which cells of one KV memory the tokens of a step see, listed in the order of their positions.
 *
 * Where these positions follow one another, the place of a cell is its position; else it is its rank among those that a
 * token sees. Layers with a sliding window have a memory, a mask and a sight of their own. */
typedef struct sight {
    const void *memory; /* keys of the first layer that has it */
    const tensor *mask; /* mask of the graph under way; NULL if the graph does not use this memory */
    bool looked;        /* `look` has listed the cells for this graph */
    int32_t *position; /* [known] position of each cell's token; -1 where unknown */
    int known;
    int tokens;        /* tokens of the step */
    int *group;        /* [tokens] group of each token; the cells that a group sees lie in one list */
    int *from, *until; /* [tokens] places of the first cell that a token sees, and of the one after the last */
    int groups;        /* lists of cells that the step has */
    int32_t **cells; /* [groups] cells by place, from place `origin` on */
    int *length;     /* [groups] length of the list */
    int *origin;     /* [groups] a multiple of SEGMENT */
    int *head;       /* [groups] place of the first cell that is seen; cells before it in the list are padding */
    int *capacity;   /* [groups] cells that the list has room for */
    int **same;      /* [groups][chunks of the list] the first group that has the same cells in the chunk */
    int *same_capacity; /* [groups] chunks that `same` has room for */
    int group_capacity, token_capacity; /* groups and tokens that there is room for */
    int32_t *scratch; /* [scratch_capacity] for `look`: the cells of a token, and the same in order */
    int scratch_capacity;
} sight;

/* Cosines and sines of the angles by which ROPE turns the pairs of each token. */
typedef struct {
    const tensor *positions; /* i32 [tokens] */
    const tensor *factors;   /* f32 [pairs] by which angles are divided; NULL for none */
    int32_t parameters[16];  /* the operation's, as ggml has them */
    float *values;           /* [tokens][2][pairs] all cosines of a token, then all sines */
    size_t size;             /* bytes of `values` */
} turns;

/* How a node of a graph is computed: by itself; not at all, as it is a product that a GLU alone takes; or, if it is that GLU, with both
 * its products. */
enum role { BY_ITSELF, LEFT_OUT, GATED };

/* A product that is to be taken by one GLU alone, a node of the graph. */
typedef struct {
    const tensor *product;
    int glu;
} taker;

/* The state of one context, kept from one graph to the next. */
typedef struct {
    int threads;        /* most threads that compute a graph */
    char *shared;       /* memory for the operation under way */
    size_t shared_size; /* its bytes */
    char *own;          /* [own_threads][own_size] bytes: memory for each thread */
    size_t own_size;
    int own_threads;
    _Atomic int *next; /* [nodes] the first piece of each node's work that no thread has taken */
    size_t next_size;  /* bytes of `next` */
    uint8_t *roles;    /* [nodes] `enum role` of each node */
    size_t roles_size; /* bytes of `roles` */
    taker *takers;     /* [taker_count] a table by address, with free places */
    size_t taker_count, takers_size; /* a power of two; bytes of the table */
    turns *turns;      /* [turn_count] of the graph under way; memory for `turn_capacity` is kept */
    int turn_count, turn_capacity;
    sight *sights; /* [sight_count] one for each KV memory */
    int sight_count;
    enum path path; /* path that computes products */
    bool short_of_memory; /* set by one thread while a graph is computed: all leave it at the next barrier */
} state;

/* One thread's part in one operation. */
typedef struct {
    state *state;
    team *team;
    _Atomic int *next;     /* the first piece of the operation's work that no thread has taken */
    int index;             /* the thread's index, below `team->count` */
    char *own;             /* the thread's own memory, aligned to 64 bytes */
    const tensor *rounded; /* for `matmul`: the tensor whose activations `shared` holds */
    rounding rounding;     /* how they are rounded */
} part;

/* Wait for all threads of the team: a barrier. */
void meet(team *team);

/* Memory of at least `wanted` bytes, aligned to 64: `memory` itself where its `*size` bytes will do, else memory in its
 * place, whose contents are lost. NULL where there is none to be had; `*size` is 0 then, and below `wanted`. */
void *grown(void *memory, size_t *size, size_t wanted);

/* Take the next piece of the operation's work; pieces count from 0. */
static inline int taken(part *part) { return atomic_fetch_add_explicit(part->next, 1, memory_order_relaxed); }

/* Rows of a tensor: elements that differ in the innermost dimension alone. */
static inline int64_t rows_of(const tensor *t) { return t->ne[1] * t->ne[2] * t->ne[3]; }

/* Where a row begins. */
static inline char *row_of(const tensor *t, int64_t row)
{
    int64_t i1 = row % t->ne[1], i2 = row / t->ne[1] % t->ne[2], i3 = row / t->ne[1] / t->ne[2];
    return t->data + i1 * t->nb[1] + i2 * t->nb[2] + i3 * t->nb[3];
}

/* Where the files below give a bool that no name explains, it is false where memory is short: what they were given can still
 * be used, and freed. Shapes stand beside the functions themselves, outermost dimension first. */

/* backend.c */
enum operation kind_of(const tensor *t);

/* gates.c */
bool find_gates(state *state, graph *graph);

/* matmul.c */
bool packs(const tensor *weight);
size_t packed_size(const tensor *weight);
void pack(const tensor *weight, const void *from);
size_t matmul_shared(const tensor *t, enum path path);
void matmul(part *part, const tensor *t);
void gated_matmul(part *part, const tensor *t, bool gelu);

/* attention.c */
size_t attention_shared(const tensor *t);
size_t attention_own(const tensor *t);
bool attends(const tensor *t);
void attention(part *part, const tensor *t);

/* sight.c */
sight *sight_of(state *state, const tensor *attention);
bool locate(sight *sight, const tensor *places, const tensor *positions, int cells);
bool look(sight *sight, int cells, int tokens);
void look_away(sight *sight);

/* rowwise.c */
bool turnable(const tensor *t);
bool add_turns(state *state, const tensor *t);
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
