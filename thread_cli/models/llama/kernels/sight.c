/* Which cells each token sees.
 *
 * The mask says so for all cells of the memory, in the order in which they lie there. Here they are listed in the order of
 * their positions, so that the terms and the order of attention's sums depend neither on where a sequence lies nor on
 * the other sequences that are held. Where positions are not known, the order is that of the memory. */
#include "kernels.h"

#include <stdlib.h>

#ifdef __x86_64__
#include "simd.h"

enum { UNSEEN = 0xfc00 /* minus infinity */ };

/* Give the array that `array` points to `size` bytes; false, and it is as before, where memory is short. */
static bool resize(void *array, size_t size)
{
    void *memory;
    memcpy(&memory, array, sizeof memory);
    memory = realloc(memory, size);
    if (memory == NULL)
        return false;
    memcpy(array, &memory, sizeof memory);
    return true;
}

/* Give the array that `array` points to room for `wanted` elements of `each` bytes and some more, unless it has; false, and it
 * is as before, where memory is short. */
static bool make_room(void *array, int *room, int wanted, size_t each)
{
    const int more = wanted + wanted / 2;
    if (wanted <= *room)
        return true;
    if (!resize(array, more * each))
        return false;
    *room = more;
    return true;
}

/* The sight of an operation of attention: the sight of its mask, else of its layer's memory, else a new one. NULL where memory is
 * short; never NULL for an operation whose sight was asked for since the graph began. */
sight *sight_of(state *state, const tensor *attention)
{
    const tensor *mask = attention->src[3];
    for (int i = 0; i < state->sight_count; i++)
        if (state->sights[i].mask == mask)
            return &state->sights[i];
    for (int i = 0; i < state->sight_count; i++)
        if (state->sights[i].mask == NULL && state->sights[i].memory == attention->src[1]->data)
            return &state->sights[i];
    if (!resize(&state->sights, (state->sight_count + 1) * sizeof *state->sights))
        return NULL;
    sight *made = &state->sights[state->sight_count++];
    *made = (sight){.memory = attention->src[1]->data};
    return made;
}

/* Note the positions of a graph's tokens, which will lie in `places`, where both are known: positions i32 [tokens], places i64
 * [tokens], below `cells`. False where memory is short. */
bool locate(sight *sight, const tensor *places, const tensor *positions, int cells)
{
    if (cells > sight->known) {
        if (!resize(&sight->position, cells * sizeof *sight->position))
            return false;
        memset(sight->position + sight->known, 0xff, (cells - sight->known) * sizeof(int32_t));
        sight->known = cells;
    }
    if (places == NULL || positions == NULL || places->ne[0] != positions->ne[0]) {
        memset(sight->position, 0xff, sight->known * sizeof(int32_t));
        return true;
    }
    for (int64_t i = 0; i < places->ne[0]; i++) {
        const int64_t place = ((const int64_t *)places->data)[i];
        if (place < sight->known)
            sight->position[place] = ((const int32_t *)positions->data)[i];
    }
    return true;
}

/* Begin a list of cells; its number, or -1 where memory is short. */
static int new_group(sight *sight)
{
    if (sight->groups == sight->group_capacity) {
        const int more = 2 * sight->group_capacity + 8;
        if (!resize(&sight->cells, more * sizeof *sight->cells) || !resize(&sight->length, more * sizeof *sight->length) ||
            !resize(&sight->origin, more * sizeof *sight->origin) || !resize(&sight->head, more * sizeof *sight->head) ||
            !resize(&sight->capacity, more * sizeof *sight->capacity) || !resize(&sight->same, more * sizeof *sight->same) ||
            !resize(&sight->same_capacity, more * sizeof *sight->same_capacity))
            return -1;
        for (int g = sight->group_capacity; g < more; g++) {
            sight->cells[g] = NULL, sight->same[g] = NULL;
            sight->capacity[g] = sight->same_capacity[g] = 0;
        }
        sight->group_capacity = more;
    }
    sight->length[sight->groups] = 0;
    return sight->groups++;
}

/* Room for `count` more cells at the end of a group's list; NULL where memory is short. */
static int32_t *more_of(sight *sight, int group, int count)
{
    const int length = sight->length[group];
    /* Not even an empty list is NULL. */
    if (!make_room(&sight->cells[group], &sight->capacity[group], length + count + 1, sizeof(int32_t)))
        return NULL;
    sight->length[group] = length + count;
    return sight->cells[group] + length;
}

/* The cell that a token sees and the token before it does not, and the other way round; -1 for none. False if either is more
 * than one cell. Both masks f16 [cells]. */
static bool differs_little(const uint16_t *before, const uint16_t *mask, int cells, int *added, int *removed)
{
    *added = *removed = -1;
    for (int c = 0; c < cells; c += 32) {
        const __mmask32 inside = cells - c >= 32 ? 0xffffffff : (1u << (cells - c)) - 1;
        const __m512i old = _mm512_maskz_loadu_epi16(inside, before + c), new = _mm512_maskz_loadu_epi16(inside, mask + c);
        for (__mmask32 differ = _mm512_cmpneq_epi16_mask(old, new); differ; differ &= differ - 1) {
            const int at = c + __builtin_ctz(differ);
            int *one = before[at] == UNSEEN ? added : removed;
            if (*one >= 0)
                return false;
            *one = at;
        }
    }
    return true;
}

/* List in `scratch` the `count` cells that a token with this mask, f16 [cells], sees; returns the position of the first, or -1 if
 * the order is that of the memory. */
static int list(sight *sight, const uint16_t *mask, int cells, int *count)
{
    int32_t *found = sight->scratch, *ordered = found + cells;
    int first = INT32_MAX, number = 0;
    for (int c = 0; c < cells; c += 32) {
        const __mmask32 inside = cells - c >= 32 ? 0xffffffff : (1u << (cells - c)) - 1;
        __mmask32 seen = _mm512_mask_cmpneq_epi16_mask(inside, _mm512_maskz_loadu_epi16(inside, mask + c),
                                                       _mm512_set1_epi16((short)UNSEEN));
        for (; seen; seen &= seen - 1) {
            found[number] = c + __builtin_ctz(seen);
            if (sight->position[found[number]] < first)
                first = sight->position[found[number]];
            number++;
        }
    }
    *count = number;
    if (number == 0 || first < 0)
        return -1;
    memset(ordered, 0xff, number * sizeof *ordered);
    for (int i = 0; i < number; i++) {
        const int rank = sight->position[found[i]] - first;
        if (rank >= number || ordered[rank] >= 0)
            return -1;
        ordered[rank] = found[i];
    }
    memcpy(found, ordered, number * sizeof *found);
    return first;
}

/* Find out which chunks of the lists have the same cells; false where memory is short. */
static bool compare(sight *sight)
{
    for (int g = 0; g < sight->groups; g++) {
        const int chunks = (sight->length[g] + CHUNK - 1) / CHUNK;
        if (!make_room(&sight->same[g], &sight->same_capacity[g], chunks, sizeof(int)))
            return false;
        for (int j = 0; j < chunks; j++)
            sight->same[g][j] = g;
        for (int other = 0; other < g; other++) {
            const int *origin = sight->origin, *length = sight->length;
            const int head = sight->head[g] > sight->head[other] ? sight->head[g] : sight->head[other];
            for (int place = origin[g] > origin[other] ? origin[g] : origin[other];
                 place + CHUNK <= origin[g] + length[g] && place + CHUNK <= origin[other] + length[other]; place += CHUNK) {
                const int mine = place - origin[g], theirs = place - origin[other];
                if (memcmp(sight->cells[g] + mine, sight->cells[other] + theirs, CHUNK * sizeof(int32_t)) == 0) {
                    if (sight->same[g][mine / CHUNK] == g)
                        sight->same[g][mine / CHUNK] = sight->same[other][theirs / CHUNK];
                } else if (place >= head) {
                    break; /* lists that have parted do not meet again */
                }
            }
        }
    }
    return true;
}

/* Whether token t, whose mask is `row`, sees the cells of the token before it and the next cell, and perhaps no longer the first
 * cell; if so, put it into that token's group. Where memory is short, it does not join the group. */
static bool goes_on(sight *sight, int t, const uint16_t *row, int cells)
{
    const int g = sight->group[t - 1], end = sight->origin[g] + sight->length[g];
    if (sight->length[g] == 0 || sight->until[t - 1] != end)
        return false;
    int added, removed;
    if (!differs_little((const uint16_t *)(sight->mask->data + (t - 1) * sight->mask->nb[1]), row, cells, &added, &removed) ||
        added < 0)
        return false;
    const int32_t *known = sight->cells[g];
    const int position = sight->position[added], first = known[sight->from[t - 1] - sight->origin[g]];
    const bool next = position < 0 ? added > known[sight->length[g] - 1] && removed < 0
                                   : position == end && sight->position[first] == sight->from[t - 1];
    if (!next || (removed >= 0 && removed != first))
        return false;
    int32_t *to = more_of(sight, g, 1);
    if (to == NULL)
        return false;
    *to = added;
    sight->group[t] = g;
    sight->from[t] = sight->from[t - 1] + (removed >= 0);
    sight->until[t] = end + 1;
    return true;
}

/* Put a token into a group of its own; false where memory is short. */
static bool begin(sight *sight, int t, const uint16_t *row, int cells)
{
    int count;
    const int first = list(sight, row, cells, &count), g = new_group(sight);
    if (g < 0)
        return false;
    sight->head[g] = first < 0 ? 0 : first;
    sight->origin[g] = sight->head[g] / SEGMENT * SEGMENT;
    const int before = count > 0 ? sight->head[g] - sight->origin[g] : 0;
    int32_t *to = more_of(sight, g, before + count);
    if (to == NULL)
        return false;
    for (int i = 0; i < before; i++)
        to[i] = sight->scratch[0];
    memcpy(to + before, sight->scratch, count * sizeof *to);
    sight->group[t] = g;
    sight->from[t] = sight->head[g];
    sight->until[t] = sight->head[g] + count;
    return true;
}

/* List the cells that each token of the mask, f16 [tokens][cells], sees. False where memory is short. */
bool look(sight *sight, int cells, int tokens)
{
    if (tokens > sight->token_capacity) {
        if (!resize(&sight->group, tokens * sizeof *sight->group) || !resize(&sight->from, tokens * sizeof *sight->from) ||
            !resize(&sight->until, tokens * sizeof *sight->until))
            return false;
        sight->token_capacity = tokens;
    }
    if (!make_room(&sight->scratch, &sight->scratch_capacity, 2 * cells, sizeof(int32_t)))
        return false;
    sight->tokens = tokens, sight->groups = 0;
    for (int t = 0; t < tokens; t++) {
        const uint16_t *row = (const uint16_t *)(sight->mask->data + t * sight->mask->nb[1]);
        if ((t == 0 || !goes_on(sight, t, row, cells)) && !begin(sight, t, row, cells))
            return false;
    }
    sight->looked = compare(sight);
    return sight->looked;
}

/* Free what a sight holds. */
void look_away(sight *sight)
{
    for (int g = 0; g < sight->group_capacity; g++)
        free(sight->cells[g]), free(sight->same[g]);
    free(sight->cells), free(sight->same), free(sight->capacity), free(sight->same_capacity), free(sight->length);
    free(sight->origin), free(sight->head), free(sight->position);
    free(sight->group), free(sight->from), free(sight->until), free(sight->scratch);
}

#endif
