/* Weights in Q8_0 times activations.
 *
 * Weights are packed when they are loaded: 16 rows to a panel, first all scales of the panel, then its numbers, each with
 * 128 added, so that the processor multiplies 64 of them at once by 4 of an activation (VNNI): 16 rows, 4 columns each.
 * Activations are rounded to 8 bits in blocks of 32, as in Q8_0. A row of the result depends on its own activation alone:
 * whole numbers add up exactly, and blocks are added in order. */
#include "kernels.h"

enum { ROWS = 16, BLOCK = 32, HEIGHT = 2, TILE = 6 };

typedef struct {
    uint16_t scale;
    int8_t numbers[BLOCK];
} __attribute__((packed)) q8_0;

bool packs(const tensor *weight)
{
    return weight->type == TYPE_Q8_0 && weight->ne[0] % BLOCK == 0 && weight->ne[1] % ROWS == 0 && weight->ne[2] == 1 &&
           weight->ne[3] == 1;
}

static size_t panel_size(int64_t blocks) { return blocks * ROWS * sizeof(q8_0); }

void pack(const tensor *weight, const void *from)
{
    const int64_t blocks = weight->ne[0] / BLOCK, panels = weight->ne[1] / ROWS;
    const q8_0 *source = from;
    for (int64_t panel = 0; panel < panels; panel++) {
        uint16_t *scales = (uint16_t *)(weight->data + panel * panel_size(blocks));
        uint8_t *numbers = (uint8_t *)(scales + blocks * ROWS);
        for (int64_t b = 0; b < blocks; b++)
            for (int row = 0; row < ROWS; row++) {
                const q8_0 *block = source + (panel * ROWS + row) * blocks + b;
                scales[b * ROWS + row] = block->scale;
                for (int i = 0; i < BLOCK; i++)
                    numbers[b * ROWS * BLOCK + i / 4 * 64 + row * 4 + i % 4] = (uint8_t)(block->numbers[i] + 128);
            }
    }
}

/* An activation: numbers, then the scale of each block, then what the 128 added to the weights come to, negated. */
static size_t activation_size(int64_t columns) { return (columns + columns / BLOCK * 8 + 63) / 64 * 64; }

size_t matmul_shared(const tensor *t) { return t->src[1]->ne[1] * activation_size(t->src[1]->ne[0]); }

static void quantise(const float *from, char *to, int64_t columns)
{
    float *scales = (float *)(to + columns);
    int32_t *offsets = (int32_t *)(scales + columns / BLOCK);
    for (int64_t b = 0; b < columns / BLOCK; b++) {
        const __m512 low = _mm512_loadu_ps(from + b * BLOCK), high = _mm512_loadu_ps(from + b * BLOCK + 16);
        const float most = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
        const __m512 factor = _mm512_set1_ps(most > 0 ? 127.0f / most : 0.0f);
        const __m512i first = _mm512_cvtps_epi32(_mm512_mul_ps(low, factor));
        const __m512i second = _mm512_cvtps_epi32(_mm512_mul_ps(high, factor));
        _mm_storeu_si128((__m128i *)(to + b * BLOCK), _mm512_cvtsepi32_epi8(first));
        _mm_storeu_si128((__m128i *)(to + b * BLOCK + 16), _mm512_cvtsepi32_epi8(second));
        scales[b] = most / 127.0f;
        offsets[b] = -128 * _mm512_reduce_add_epi32(_mm512_add_epi32(first, second));
    }
}

typedef struct {
    const char *panels; /* `pitch` bytes from one to the next */
    size_t pitch;
    const char *activations;
    size_t stride;
    char *result;
    size_t result_stride;
    int64_t blocks;
} product;

/* The result of `height` panels for `count` activations. */
__attribute__((always_inline)) static inline void tile(const product *p, const int height, const int count)
{
    const int64_t blocks = p->blocks;
    __m512 sums[HEIGHT][TILE];
    for (int h = 0; h < height; h++)
        for (int i = 0; i < count; i++)
            sums[h][i] = _mm512_setzero_ps();
    for (int64_t b = 0; b < blocks; b++) {
        __m512i exact[HEIGHT][TILE];
#pragma GCC unroll 8
        for (int i = 0; i < count; i++) {
            const float *factors = (const float *)(p->activations + i * p->stride + blocks * BLOCK);
            exact[0][i] = _mm512_set1_epi32(((const int32_t *)(factors + blocks))[b]);
            for (int h = 1; h < height; h++)
                exact[h][i] = exact[0][i];
        }
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) {
            __m512i weights[HEIGHT];
            for (int h = 0; h < height; h++)
                weights[h] = _mm512_loadu_si512(p->panels + h * p->pitch + blocks * ROWS * 2 + (b * 8 + k) * 64);
#pragma GCC unroll 8
            for (int i = 0; i < count; i++) {
                const int32_t *four = (const int32_t *)(p->activations + i * p->stride + b * BLOCK) + k;
                const __m512i repeated = _mm512_set1_epi32(*four);
                for (int h = 0; h < height; h++)
                    exact[h][i] = _mm512_dpbusd_epi32(exact[h][i], weights[h], repeated);
            }
        }
        for (int h = 0; h < height; h++) {
            const __m512 scales =
                _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p->panels + h * p->pitch + b * ROWS * 2)));
#pragma GCC unroll 8
            for (int i = 0; i < count; i++) {
                const float factor = ((const float *)(p->activations + i * p->stride + blocks * BLOCK))[b];
                const __m512 both = _mm512_mul_ps(scales, _mm512_set1_ps(factor));
                sums[h][i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(exact[h][i]), both, sums[h][i]);
            }
        }
    }
    for (int h = 0; h < height; h++)
        for (int i = 0; i < count; i++)
            _mm512_storeu_ps((float *)(p->result + i * p->result_stride) + h * ROWS, sums[h][i]);
}

__attribute__((always_inline)) static inline void tiles(product p, int64_t tokens, const int height)
{
    for (; tokens >= TILE; tokens -= TILE) {
        tile(&p, height, TILE);
        p.activations += TILE * p.stride;
        p.result += TILE * p.result_stride;
    }
    switch (tokens) {
    case 1: tile(&p, height, 1); break;
    case 2: tile(&p, height, 2); break;
    case 3: tile(&p, height, 3); break;
    case 4: tile(&p, height, 4); break;
    case 5: tile(&p, height, 5); break;
    default: break;
    }
}

static void two_panels(const product *p, int64_t tokens) { tiles(*p, tokens, 2); }
static void one_panel(const product *p, int64_t tokens) { tiles(*p, tokens, 1); }

void matmul(part *part, const tensor *t)
{
    const tensor *weight = t->src[0], *input = t->src[1];
    const int64_t blocks = weight->ne[0] / BLOCK, panels = weight->ne[1] / ROWS, tokens = input->ne[1];
    const size_t stride = activation_size(weight->ne[0]), pitch = panel_size(blocks);
    char *shared = part->state->shared;
    if (part->quantised != input) {
        for (int64_t i = part->index; i < tokens; i += part->team->count)
            quantise((const float *)(input->data + i * input->nb[1]), shared + i * stride, weight->ne[0]);
        meet(part->team);
        part->quantised = input;
    }
    /* A few pieces for each thread, so that one that is held up does not hold up the others for long. */
    const int64_t piece = (panels / (part->team->count * 16) + 1) * HEIGHT;
    for (int64_t first; (first = taken(part) * piece) < panels;)
        for (int64_t panel = first; panel < panels && panel < first + piece; panel += HEIGHT) {
            const product p = {.panels = weight->data + panel * pitch,
                               .pitch = pitch,
                               .activations = shared,
                               .stride = stride,
                               .result = t->data + panel * ROWS * sizeof(float),
                               .result_stride = t->nb[1],
                               .blocks = blocks};
            if (panel + HEIGHT <= panels)
                two_panels(&p, tokens);
            else
                one_panel(&p, tokens);
        }
}
