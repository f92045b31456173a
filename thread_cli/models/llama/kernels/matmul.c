/* Weights times activations, as llama.cpp's graphs have them. */
#include "kernels.h"

/* Whether weights [rows][columns] are in a format that is multiplied here. */
bool packs(const tensor *weight)
{
    const enum kind kind = kind_of_type(weight->type);
    return kind != NO_FORMAT && weight->ne[0] % formats[kind].columns == 0 && weight->ne[2] == 1 && weight->ne[3] == 1;
}

/* Bytes of the panels of weights. */
size_t packed_size(const tensor *weight)
{
    return panels_of(weight->ne[1]) * panel_size(kind_of_type(weight->type), weight->ne[0]);
}

/* Write weights [rows][columns], as a file has them, into the panels of their tensor. */
void pack(const tensor *weight, const void *from)
{
    pack_panels(kind_of_type(weight->type), weight->ne[1], weight->ne[0], from, weight->data);
}

/* Bytes for all rounded activations, up to the end of the last ones that lie together. */
size_t matmul_shared(const tensor *t, enum path path)
{
    const rounding r = rounding_of(kind_of_type(t->src[0]->type), t->src[0]->ne[0]);
    const int64_t tokens = t->src[1]->ne[1], together = together_for(path, tokens);
    return r.group ? (tokens + together - 1) / together * together * r.size : 0;
}

/* Round the activations, f32 [tokens][columns], into `shared`, unless those that are there will do. */
static void round_all(part *part, const tensor *input, const product *p)
{
    if (part->rounded == input && same_rounding(&part->rounding, &p->rounding))
        return;
    for (int64_t i = part->index; i < p->tokens; i += part->team->count) {
        const int64_t index = i % p->together;
        round_activation(&p->rounding, (const float *)(input->data + i * input->nb[1]),
                         part->state->shared + (i - index) * p->rounding.size, (int)index, p->together);
    }
    meet(part->team);
    part->rounded = input;
    part->rounding = p->rounding;
}

/* A product into `t`, f32 [tokens][rows], gated where there are `gates`, weights of the same format and shape. */
static void multiply_into(part *part, const tensor *t, const tensor *weight, const tensor *gates, bool gelu, const tensor *input)
{
    const enum kind kind = kind_of_type(weight->type);
    const enum path path = part->state->path;
    product p = {.kind = kind,
                 .path = path,
                 .rows = weight->ne[1],
                 .columns = weight->ne[0],
                 .tokens = input->ne[1],
                 .weights = (const uint8_t *)weight->data,
                 .gates = gates ? (const uint8_t *)gates->data : NULL,
                 .gelu = gelu,
                 .activations = input->data,
                 .stride = input->nb[1],
                 .together = together_for(path, input->ne[1]),
                 .rounding = rounding_of(kind, weight->ne[0]),
                 .result = t->data,
                 .result_stride = t->nb[1]};
    if (p.rounding.group > 0) {
        round_all(part, input, &p);
        p.activations = part->state->shared;
    }
    /* A thread that is held up should not hold up the others for long: they take small pieces from each other. But weights that lie
     * side by side are read more quickly, which is what few tokens wait for: most of them are divided beforehand. */
    const int64_t panels = panels_of(p.rows), threads = part->team->count;
    const int64_t share = p.tokens > SIXTEEN ? 0 : panels / threads * 3 / 4, piece = share > 0 ? panels / threads / 16 + 1 : PANELS;
    if (share > 0)
        multiply(&p, part->index * share, (part->index + 1) * share, part->own);
    for (int64_t first; (first = threads * share + taken(part) * piece) < panels;)
        multiply(&p, first, first + piece < panels ? first + piece : panels, part->own);
}

/* y = W x for each token: W packed [rows][columns], x f32 [tokens][columns], y f32 [tokens][rows]. */
void matmul(part *part, const tensor *t) { multiply_into(part, t, t->src[0], NULL, false, t->src[1]); }

/* A GLU together with both its products: y = f(V x) W x, with SiLU or GELU as f. */
void gated_matmul(part *part, const tensor *t, bool gelu)
{
    multiply_into(part, t, t->src[1]->src[0], t->src[0]->src[0], gelu, t->src[0]->src[1]);
}
