/* Gated products: where nothing but a GLU takes two products of the same activations, all three are computed as one.
 *
 * Neither product is ever written to memory then, nor read from it, which for a prompt costs as much as many products. The
 * result has the same bits. */
#include "kernels.h"

#include <stdlib.h>

/* The last node before one that is computed at all; -1 if there is none. */
static int before(graph *graph, int node)
{
    do
        node--;
    while (node >= 0 && kind_of(ggml_graph_node(graph, node)) == NOTHING);
    return node;
}

/* Whether two products may be computed as one with the GLU that takes them. */
static bool may_be_one(const tensor *glu, const tensor *gate, const tensor *other)
{
    const tensor *a = gate->src[0], *b = other->src[0];
    return kind_of(gate) == MUL_MAT && kind_of(other) == MUL_MAT && gate->src[1] == other->src[1] && a->type == b->type &&
           a->ne[0] == b->ne[0] && a->ne[1] == b->ne[1] && formats[kind_of_type(a->type)].group > 0 &&
           !((gate->flags | other->flags) & FLAG_OUTPUT) && glu->ne[0] == gate->ne[0] && glu->ne[1] == gate->ne[1] &&
           gate->ne[2] == 1 && gate->ne[3] == 1;
}

/* The place of a tensor in the table of products that are to be taken by a GLU alone, or the free one where it would be. */
static taker *place_of(const state *state, const tensor *t)
{
    const size_t last = state->taker_count - 1;
    size_t at = ((uintptr_t)t >> 4) * 0x9e3779b97f4a7c15ull >> 32 & last;
    while (state->takers[at].product != NULL && state->takers[at].product != t)
        at = (at + 1) & last;
    return &state->takers[at];
}

/* Find the gated products of a graph: set `roles`, of each node. False where memory is short. */
bool find_gates(state *state, graph *graph)
{
    const int nodes = ggml_graph_n_nodes(graph);
    state->roles = grown(state->roles, &state->roles_size, nodes);
    if (state->roles_size < (size_t)nodes)
        return false;
    memset(state->roles, BY_ITSELF, nodes);
    int found = 0;
    for (int i = 0; i < nodes; i++) {
        const tensor *t = ggml_graph_node(graph, i);
        const int second = kind_of(t) == GLU ? before(graph, i) : -1, first = second < 0 ? -1 : before(graph, second);
        if (first < 0)
            continue;
        const tensor *a = ggml_graph_node(graph, first), *b = ggml_graph_node(graph, second);
        const bool taken = (t->src[0] == a && t->src[1] == b) || (t->src[0] == b && t->src[1] == a);
        if (taken && may_be_one(t, t->src[0], t->src[1]))
            state->roles[i] = GATED, state->roles[first] = state->roles[second] = LEFT_OUT, found++;
    }
    if (found == 0)
        return true;
    /* A table of the products that are left out, a quarter full at most; then the operands of every node are looked up in it. */
    size_t count = 16;
    while (count < 8 * (size_t)found)
        count *= 2;
    state->takers = grown(state->takers, &state->takers_size, count * sizeof *state->takers);
    if (state->takers_size < count * sizeof *state->takers)
        return false;
    state->taker_count = count;
    memset(state->takers, 0, count * sizeof *state->takers);
    for (int i = 0; i < nodes; i++)
        if (state->roles[i] == GATED)
            for (int s = 0; s < 2; s++) {
                const tensor *t = ggml_graph_node(graph, i);
                *place_of(state, t->src[s]) = (taker){t->src[s], i};
            }
    for (int i = 0; i < nodes; i++) {
        const tensor *t = ggml_graph_node(graph, i);
        for (int s = -1; s < 10; s++) {
            const tensor *taken = s < 0 ? t->view_src : t->src[s];
            const taker *place = taken != NULL ? place_of(state, taken) : NULL;
            if (place == NULL || place->product == NULL || place->glu == i)
                continue;
            const int second = before(graph, place->glu);
            state->roles[place->glu] = state->roles[second] = state->roles[before(graph, second)] = BY_ITSELF;
        }
    }
    return true;
}
