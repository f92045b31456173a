/* Operations on each row by itself: norms, sums and products, rotary embeddings, gates, and rows put in and taken out. */
#include "kernels.h"

#include <math.h>
#include <stdlib.h>

#ifdef __x86_64__
#include "simd.h"

/* y = x / √(mean(x²) + ε), row by row. x and y f32 [rows][width]; ε is parameter 0. */
void rms_norm(part *part, const tensor *t)
{
    const tensor *from = t->src[0];
    float epsilon;
    memcpy(&epsilon, t->op_params, sizeof epsilon);
    const int64_t width = t->ne[0];
    for (int64_t row = part->index; row < rows_of(t); row += part->team->count) {
        const float *x = (const float *)row_of(from, row);
        float *y = (float *)row_of(t, row);
        __m512 squares = _mm512_setzero_ps();
        for (int64_t i = 0; i < width; i += 16) {
            const __m512 value = _mm512_maskz_loadu_ps(width - i >= 16 ? 0xffff : (1u << (width - i)) - 1, x + i);
            squares = _mm512_fmadd_ps(value, value, squares);
        }
        const float factor = 1.0f / sqrtf(_mm512_reduce_add_ps(squares) / (float)width + epsilon);
        for (int64_t i = 0; i < width; i++)
            y[i] = x[i] * factor;
    }
}

/* y = a · b or a + b, number by number. a and y f32 [rows][width]; b f32 [fewer rows][width], which are then repeated. */
void combine(part *part, const tensor *t, bool times)
{
    const tensor *a = t->src[0], *b = t->src[1];
    const int64_t width = t->ne[0];
    for (int64_t row = part->index; row < rows_of(t); row += part->team->count) {
        const int64_t i1 = row % t->ne[1] % b->ne[1], i2 = row / t->ne[1] % t->ne[2] % b->ne[2];
        const int64_t i3 = row / t->ne[1] / t->ne[2] % b->ne[3];
        const float *x = (const float *)row_of(a, row);
        const float *z = (const float *)(b->data + i1 * b->nb[1] + i2 * b->nb[2] + i3 * b->nb[3]);
        float *y = (float *)row_of(t, row);
        if (times)
            for (int64_t i = 0; i < width; i++)
                y[i] = x[i] * z[i];
        else
            for (int64_t i = 0; i < width; i++)
                y[i] = x[i] + z[i];
    }
}

static float parameter(const tensor *t, int index)
{
    float value;
    memcpy(&value, t->op_params + index, sizeof value);
    return value;
}

/* y = x · factor + offset, which are parameters 0 and 1. x and y f32 [rows][width]. */
void scale(part *part, const tensor *t)
{
    const float factor = parameter(t, 0), offset = parameter(t, 1);
    for (int64_t row = part->index; row < rows_of(t); row += part->team->count) {
        const float *x = (const float *)row_of(t->src[0], row);
        float *y = (float *)row_of(t, row);
        for (int64_t i = 0; i < t->ne[0]; i++)
            y[i] = x[i] * factor + offset;
    }
}

/* y = tanh(x). x and y f32 [rows][width]. */
void hyperbolic_tangent(part *part, const tensor *t)
{
    const int64_t width = t->ne[0], piece = 1024, pieces = (width + piece - 1) / piece;
    for (int64_t i = part->index; i < rows_of(t) * pieces; i += part->team->count) {
        const int64_t row = i / pieces, last = (i % pieces + 1) * piece < width ? (i % pieces + 1) * piece : width;
        const float *x = (const float *)row_of(t->src[0], row);
        float *y = (float *)row_of(t, row);
        for (int64_t d = i % pieces * piece; d < last; d += 16) {
            const __mmask16 inside = last - d >= 16 ? 0xffff : (1u << (last - d)) - 1;
            _mm512_mask_storeu_ps(y + d, inside, tanh_of(_mm512_maskz_loadu_ps(inside, x + d)));
        }
    }
}

/* Whether `rope` computes a ROPE: pairs of neighbours (mode 0) or of halves (mode 2), without YaRN's scaling. */
bool turnable(const tensor *t)
{
    const int mode = t->op_params[2];
    return t->type == TYPE_F32 && t->src[0]->type == TYPE_F32 && t->nb[0] == sizeof(float) &&
           t->src[0]->nb[0] == sizeof(float) && t->src[1]->type == TYPE_I32 && (mode == 0 || mode == 2) &&
           parameter(t, 7) == 0 && t->op_params[15] == 0 && t->ne[3] == 1 && t->src[1]->ne[0] == t->ne[2] &&
           (t->src[2] == NULL || t->src[2]->type == TYPE_F32);
}

/* The cosines and sines that a ROPE of the graph uses; NULL if `add_turns` has not seen it. */
static turns *turns_of(const state *state, const tensor *t)
{
    for (int i = 0; i < state->turn_count; i++) {
        turns *turns = &state->turns[i];
        if (turns->positions == t->src[1] && turns->factors == t->src[2] &&
            memcmp(turns->parameters, t->op_params, sizeof turns->parameters) == 0)
            return turns;
    }
    return NULL;
}

/* Have room for the cosines and sines that a ROPE of the graph needs, unless another one needs the same. False where memory
 * is short. */
bool add_turns(state *state, const tensor *t)
{
    if (turns_of(state, t) != NULL)
        return true;
    if (state->turn_count == state->turn_capacity) {
        turns *more = realloc(state->turns, (state->turn_capacity + 1) * sizeof *state->turns);
        if (more == NULL)
            return false;
        state->turns = more;
        state->turns[state->turn_capacity++] = (turns){0};
    }
    const size_t wanted = (size_t)t->ne[2] * t->op_params[1] * sizeof(float);
    turns *turns = &state->turns[state->turn_count];
    turns->values = grown(turns->values, &turns->size, wanted);
    if (turns->size < wanted)
        return false;
    turns->positions = t->src[1], turns->factors = t->src[2];
    memcpy(turns->parameters, t->op_params, sizeof turns->parameters);
    state->turn_count++;
    return true;
}

/* Cosines and sines of this thread's tokens, for all that `add_turns` has made room for. Angle p of a token at position n is
 * n · base^(-p / pairs), multiplied up in 32 bits, as in ggml: each is the one before it, times a step. */
void compute_turns(part *part)
{
    for (int n = 0; n < part->state->turn_count; n++) {
        const turns *turns = &part->state->turns[n];
        const int32_t *positions = (const int32_t *)turns->positions->data;
        const float *factors = turns->factors ? (const float *)turns->factors->data : NULL;
        const int pairs = turns->parameters[1] / 2, tokens = (int)turns->positions->ne[0];
        float base, frequency, size;
        memcpy(&base, turns->parameters + 5, sizeof base);
        memcpy(&frequency, turns->parameters + 6, sizeof frequency);
        memcpy(&size, turns->parameters + 8, sizeof size);
        const float step = powf(base, -2.0f / (float)(2 * pairs));
        for (int i = part->index; i < tokens; i += part->team->count) {
            float angle = (float)positions[i], *cosines = turns->values + (size_t)i * pairs * 2, *sines = cosines + pairs;
            for (int p = 0; p < pairs; p++, angle *= step) {
                const float turned = frequency * (factors ? angle / factors[p] : angle);
                cosines[p] = cosf(turned) * size;
                sines[p] = sinf(turned) * size;
            }
        }
    }
}

/* Rotary embedding: pair p of a head, (a, b), becomes (a cos - b sin, a sin + b cos) by angle p of its token; numbers behind
 * the pairs stay. x and y f32 [tokens][heads][width]. */
void rope(part *part, const tensor *t)
{
    const int pairs = t->op_params[1] / 2;
    const bool halves = t->op_params[2] == 2;
    const turns *turns = turns_of(part->state, t);
    for (int64_t row = part->index; row < rows_of(t); row += part->team->count) {
        const float *x = (const float *)row_of(t->src[0], row);
        const float *cosines = turns->values + row / t->ne[1] * pairs * 2, *sines = cosines + pairs;
        float *y = (float *)row_of(t, row);
        if (halves)
            for (int p = 0; p < pairs; p++) {
                const float a = x[p], b = x[p + pairs];
                y[p] = a * cosines[p] - b * sines[p];
                y[p + pairs] = a * sines[p] + b * cosines[p];
            }
        else
            for (int p = 0; p < pairs; p++) {
                const float a = x[2 * p], b = x[2 * p + 1];
                y[2 * p] = a * cosines[p] - b * sines[p];
                y[2 * p + 1] = a * sines[p] + b * cosines[p];
            }
        for (int64_t i = 2 * pairs; i < t->ne[0]; i++)
            y[i] = x[i];
    }
}

/* Put rows into a memory: y[to[row]] = x[row], rounded to 16 bits. x f32 [rows][width], to i64 or i32 [rows], y f16
 * [cells][width]. */
void set_rows(part *part, const tensor *t)
{
    const tensor *from = t->src[0], *to = t->src[1];
    const int64_t width = from->ne[0];
    for (int64_t row = part->index; row < from->ne[1]; row += part->team->count) {
        const int64_t place = to->type == TYPE_I64 ? ((const int64_t *)to->data)[row] : ((const int32_t *)to->data)[row];
        const float *x = (const float *)(from->data + row * from->nb[1]);
        uint16_t *y = (uint16_t *)(t->data + place * t->nb[1]);
        for (int64_t i = 0; i < width; i += 16) {
            const __mmask16 inside = width - i >= 16 ? 0xffff : (1u << (width - i)) - 1;
            const __m256i half = _mm512_cvtps_ph(_mm512_maskz_loadu_ps(inside, x + i), _MM_FROUND_TO_NEAREST_INT);
            _mm256_mask_storeu_epi16(y + i, inside, half);
        }
    }
}

/* Take rows out: y[row] = x[which[row]]. x f32 [any][width], which i32 [rows], y f32 [rows][width]. */
void get_rows(part *part, const tensor *t)
{
    const int32_t *which = (const int32_t *)t->src[1]->data;
    for (int64_t row = part->index; row < t->ne[1]; row += part->team->count)
        memcpy(t->data + row * t->nb[1], t->src[0]->data + which[row] * t->src[0]->nb[1], t->ne[0] * sizeof(float));
}

/* y = x / (1 + e^-z) · gate, where z is x (SiLU) or 2·√(2/π)·(x + 0.044715·x³) (GELU, approximated by tanh). All f32
 * [rows][width]. */
void glu(part *part, const tensor *t, bool gelu)
{
    const int64_t width = t->ne[0], piece = 256, pieces = (width + piece - 1) / piece;
    for (int64_t i = part->index; i < rows_of(t) * pieces; i += part->team->count) {
        const int64_t row = i / pieces, last = (i % pieces + 1) * piece < width ? (i % pieces + 1) * piece : width;
        const float *x = (const float *)row_of(t->src[0], row), *gate = (const float *)row_of(t->src[1], row);
        float *y = (float *)row_of(t, row);
        for (int64_t d = i % pieces * piece; d < last; d += 16) {
            const __mmask16 inside = last - d >= 16 ? 0xffff : (1u << (last - d)) - 1;
            const __m512 value = _mm512_maskz_loadu_ps(inside, x + d), by = _mm512_maskz_loadu_ps(inside, gate + d);
            _mm512_mask_storeu_ps(y + d, inside, gated(value, by, gelu));
        }
    }
}

#endif
