/* table.c - hash tables: by two words, or by a word and a number.
 *
 * Equal words are the same pointer (words.c), so no letter is looked at.
 */
#include "ladder.h"

#include <stdlib.h>

/* The slot of WORD and OTHER, or the free one where it belongs. */
static struct slot *find_slot(const struct table *table, const char *word, uint64_t other)
{
    uint64_t hash = ((uint64_t)(uintptr_t)word ^ other * 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9;
    size_t i = (size_t)(hash >> 20) & (table->size - 1);

    while (table->slots[i].word != NULL &&
           (table->slots[i].word != word || table->slots[i].other != other))
        i = (i + 1) & (table->size - 1);
    return &table->slots[i];
}

static void grow(struct table *table)
{
    struct table larger = { .size = table->size == 0 ? 1024 : 2 * table->size };

    larger.slots = checked(calloc(larger.size, sizeof *larger.slots));
    for (size_t i = 0; i < table->size; i++) {
        const struct slot *old = &table->slots[i];

        if (old->word != NULL)
            *find_slot(&larger, old->word, old->other) = *old;
    }
    larger.used = table->used;
    free(table->slots);
    *table = larger;
}

struct slot *slot_of(struct table *table, const char *word, uint64_t other)
{
    struct slot *slot;

    if (2 * table->used >= table->size)
        grow(table);
    slot = find_slot(table, word, other);
    if (slot->word == NULL) {
        slot->word = word;
        slot->other = other;
        table->used++;
    }
    return slot;
}

struct slot *slot_of_ends(struct table *table, const char *a, const char *b)
{
    if ((uintptr_t)a < (uintptr_t)b)
        return slot_of(table, a, (uintptr_t)b);
    return slot_of(table, b, (uintptr_t)a);
}
