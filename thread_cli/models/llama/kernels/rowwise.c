/* What is done to each row by itself: norms, sums and products, rotary positions, gates, and rows put in and taken out. */
#include "kernels.h"

#include <math.h>

#include "simd.h"

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

/* A sum or a product; the second operand may have fewer rows, which are then repeated. */
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

/* Pairs of neighbours (mode 0) or of halves (mode 2), without what YaRN adds. */
bool turnable(const tensor *t)
{
    const int mode = t->op_params[2];
    return t->type == TYPE_F32 && t->src[0]->type == TYPE_F32 && t->src[1]->type == TYPE_I32 && (mode == 0 || mode == 2) &&
           parameter(t, 7) == 0 && t->op_params[15] == 0 && t->ne[3] == 1 && t->src[1]->ne[0] == t->ne[2] &&
           (t->src[2] == NULL || t->src[2]->type == TYPE_F32);
}

/* Cosine and sine of each token and pair, computed once for all layers. */
void turn_table(state *state, const tensor *t)
{
    const int32_t *positions = (const int32_t *)t->src[1]->data;
    const float *factors = t->src[2] ? (const float *)t->src[2]->data : NULL;
    const int pairs = t->op_params[1] / 2, tokens = (int)t->ne[2];
    if (state->turns_tokens == tokens && state->turns_positions == positions && state->turns_factors == factors &&
        memcmp(state->turns_key, t->op_params, sizeof state->turns_key) == 0)
        return;
    state->turns = grown(state->turns, &state->turns_size, (size_t)tokens * pairs * 2 * sizeof(float));
    const float step = powf(parameter(t, 5), -2.0f / (float)(2 * pairs));
    for (int i = 0; i < tokens; i++) {
        float angle = (float)positions[i];
        for (int p = 0; p < pairs; p++, angle *= step) {
            const float turned = parameter(t, 6) * (factors ? angle / factors[p] : angle);
            state->turns[((size_t)i * pairs + p) * 2] = cosf(turned) * parameter(t, 8);
            state->turns[((size_t)i * pairs + p) * 2 + 1] = sinf(turned) * parameter(t, 8);
        }
    }
    state->turns_tokens = tokens, state->turns_positions = positions, state->turns_factors = factors;
    memcpy(state->turns_key, t->op_params, sizeof state->turns_key);
}

void rope(part *part, const tensor *t)
{
    const int pairs = t->op_params[1] / 2, apart = t->op_params[2] == 0 ? 1 : pairs, wide = t->op_params[2] == 0 ? 2 : 1;
    for (int64_t row = part->index; row < rows_of(t); row += part->team->count) {
        const float *x = (const float *)row_of(t->src[0], row);
        const float *turns = part->state->turns + row / t->ne[1] * pairs * 2;
        float *y = (float *)row_of(t, row);
        for (int p = 0; p < pairs; p++) {
            const float a = x[p * wide], b = x[p * wide + apart];
            y[p * wide] = a * turns[2 * p] - b * turns[2 * p + 1];
            y[p * wide + apart] = a * turns[2 * p + 1] + b * turns[2 * p];
        }
        for (int64_t i = 2 * pairs; i < t->ne[0]; i++)
            y[i] = x[i];
    }
}

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

void get_rows(part *part, const tensor *t)
{
    const int32_t *which = (const int32_t *)t->src[1]->data;
    for (int64_t row = part->index; row < t->ne[1]; row += part->team->count)
        memcpy(t->data + row * t->nb[1], t->src[0]->data + which[row] * t->src[0]->nb[1], t->ne[0] * sizeof(float));
}

/* silu(x) times y. */
void glu(part *part, const tensor *t)
{
    const int64_t width = t->ne[0], piece = 256, pieces = (width + piece - 1) / piece;
    for (int64_t i = part->index; i < rows_of(t) * pieces; i += part->team->count) {
        const int64_t row = i / pieces, last = (i % pieces + 1) * piece < width ? (i % pieces + 1) * piece : width;
        const float *x = (const float *)row_of(t->src[0], row), *gate = (const float *)row_of(t->src[1], row);
        float *y = (float *)row_of(t, row);
        for (int64_t d = i % pieces * piece; d < last; d += 16) {
            const __mmask16 inside = last - d >= 16 ? 0xffff : (1u << (last - d)) - 1;
            const __m512 value = _mm512_maskz_loadu_ps(inside, x + d);
            const __m512 grown = exp_of(_mm512_sub_ps(_mm512_setzero_ps(), value));
            const __m512 silu = _mm512_div_ps(value, _mm512_add_ps(_mm512_set1_ps(1.0f), grown));
            _mm512_mask_storeu_ps(y + d, inside, _mm512_mul_ps(silu, _mm512_maskz_loadu_ps(inside, gate + d)));
        }
    }
}
