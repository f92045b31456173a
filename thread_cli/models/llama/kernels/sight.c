/* Which cells each token sees.
 *
 * The mask says so for all cells of the memory, in the order in which they lie there. Here they are listed in the order of
 * their positions, so that what attention adds up, and in which order, depends neither on where a sequence lies nor on
 * what else is held. Where positions are not known, the order is that of the memory. */
#include "kernels.h"

#include <stdlib.h>

#include "simd.h"

enum { UNSEEN = 0xfc00 /* minus infinity */ };

static void *with_room(void *memory, int *room, int wanted, size_t each)
{
    if (wanted <= *room)
        return memory;
    *room = wanted + wanted / 2;
    void *larger = realloc(memory, *room * each);
    if (larger == NULL)
        abort();
    return larger;
}

static int new_group(sight *sight)
{
    if (sight->groups == sight->group_capacity) {
        const int more = 2 * sight->group_capacity + 8;
        sight->cells = realloc(sight->cells, more * sizeof *sight->cells);
        sight->length = realloc(sight->length, more * sizeof *sight->length);
        sight->capacity = realloc(sight->capacity, more * sizeof *sight->capacity);
        sight->same = realloc(sight->same, more * sizeof *sight->same);
        sight->same_capacity = realloc(sight->same_capacity, more * sizeof *sight->same_capacity);
        if (!sight->cells || !sight->length || !sight->capacity || !sight->same || !sight->same_capacity)
            abort();
        for (int g = sight->group_capacity; g < more; g++) {
            sight->cells[g] = NULL, sight->same[g] = NULL;
            sight->capacity[g] = sight->same_capacity[g] = 0;
        }
        sight->group_capacity = more;
    }
    sight->length[sight->groups] = 0;
    return sight->groups++;
}

static void append(sight *sight, int group, const int32_t *cells, int count)
{
    const int length = sight->length[group];
    sight->cells[group] = with_room(sight->cells[group], &sight->capacity[group], length + count, sizeof(int32_t));
    memcpy(sight->cells[group] + length, cells, count * sizeof *cells);
    sight->length[group] = length + count;
}

/* The one cell that a token sees and the token before it does not; -1 if they differ in any other way. */
static int one_more(const uint16_t *before, const uint16_t *mask, int cells)
{
    int found = -1;
    for (int c = 0; c < cells; c += 32) {
        const __mmask32 inside = cells - c >= 32 ? 0xffffffff : (1u << (cells - c)) - 1;
        const __m512i old = _mm512_maskz_loadu_epi16(inside, before + c), new = _mm512_maskz_loadu_epi16(inside, mask + c);
        const __mmask32 differ = _mm512_cmpneq_epi16_mask(old, new);
        if (differ == 0)
            continue;
        const int at = c + __builtin_ctz(differ);
        if (found >= 0 || (differ & (differ - 1)) != 0 || before[at] != UNSEEN)
            return -1;
        found = at;
    }
    return found;
}

/* List in `scratch` the cells that a token sees; returns how many. */
static int list(sight *sight, const uint16_t *mask, const int32_t *position, int cells)
{
    int32_t *found = sight->scratch;
    int count = 0, last = -1;
    for (int c = 0; c < cells; c += 32) {
        const __mmask32 inside = cells - c >= 32 ? 0xffffffff : (1u << (cells - c)) - 1;
        __mmask32 seen = _mm512_mask_cmpneq_epi16_mask(inside, _mm512_maskz_loadu_epi16(inside, mask + c),
                                                       _mm512_set1_epi16((short)UNSEEN));
        for (; seen; seen &= seen - 1)
            found[count++] = c + __builtin_ctz(seen);
    }
    /* In order of position, if these are 0, 1, … as in a whole sequence. */
    int32_t *ordered = found + cells;
    memset(ordered, 0xff, count * sizeof *ordered);
    for (int i = 0; i < count; i++) {
        last = position[found[i]];
        if (last < 0 || last >= count || ordered[last] >= 0)
            return count;
        ordered[last] = found[i];
    }
    memcpy(found, ordered, count * sizeof *found);
    return count;
}

/* Find out which chunks of the lists have the same cells. */
static void compare(sight *sight)
{
    for (int g = 0; g < sight->groups; g++) {
        const int chunks = (sight->length[g] + CHUNK - 1) / CHUNK;
        sight->same[g] = with_room(sight->same[g], &sight->same_capacity[g], chunks, sizeof(int));
        for (int j = 0; j < chunks; j++)
            sight->same[g][j] = g;
        for (int other = 0; other < g; other++)
            for (int j = 0; (j + 1) * CHUNK <= sight->length[g] && (j + 1) * CHUNK <= sight->length[other]; j++) {
                if (memcmp(sight->cells[g] + j * CHUNK, sight->cells[other] + j * CHUNK, CHUNK * sizeof(int32_t)) != 0)
                    break;
                if (sight->same[g][j] == g)
                    sight->same[g][j] = sight->same[other][j];
            }
    }
}

/* Whether a token sees what the one before it sees and the cell that comes next; if so, put it into that one's group. */
static bool goes_on(sight *sight, int t, const uint16_t *row, const int32_t *position, int cells)
{
    const int g = sight->group[t - 1], length = sight->length[g];
    if (length == 0 || sight->count[t - 1] != length)
        return false;
    const int more = one_more((const uint16_t *)(sight->mask->data + (t - 1) * sight->mask->nb[1]), row, cells);
    if (more < 0)
        return false;
    const int32_t *known = sight->cells[g];
    const bool next = position[more] < 0 ? more > known[length - 1] : position[more] == length && position[known[0]] == 0;
    if (!next)
        return false;
    append(sight, g, &more, 1);
    sight->group[t] = g, sight->count[t] = length + 1;
    return true;
}

void look(sight *sight, const tensor *mask, const int32_t *position, int cells, int tokens)
{
    if (tokens > sight->token_capacity) {
        sight->group = realloc(sight->group, tokens * sizeof *sight->group);
        sight->count = realloc(sight->count, tokens * sizeof *sight->count);
        sight->token_capacity = tokens;
        if (!sight->group || !sight->count)
            abort();
    }
    sight->scratch = with_room(sight->scratch, &sight->scratch_capacity, 2 * cells, sizeof(int32_t));
    sight->mask = mask, sight->tokens = tokens, sight->groups = 0;
    for (int t = 0; t < tokens; t++) {
        const uint16_t *row = (const uint16_t *)(mask->data + t * mask->nb[1]);
        if (t > 0 && goes_on(sight, t, row, position, cells))
            continue;
        const int count = list(sight, row, position, cells);
        const int g = new_group(sight);
        append(sight, g, sight->scratch, count);
        sight->group[t] = g, sight->count[t] = count;
    }
    compare(sight);
}

void look_away(sight *sight)
{
    for (int g = 0; g < sight->group_capacity; g++)
        free(sight->cells[g]), free(sight->same[g]);
    free(sight->cells), free(sight->same), free(sight->capacity), free(sight->same_capacity), free(sight->length);
    free(sight->group), free(sight->count), free(sight->scratch);
}
