/* The inside of the location table, shared by table.c and table_memory.c. */
#ifndef BK_CORE_REGISTRAR_TABLE_PRIVATE_H
#define BK_CORE_REGISTRAR_TABLE_PRIVATE_H

#include "core/registrar/table.h"

enum {
    BK_TABLE_PAGE_ROWS = 4096,
    BK_TABLE_SEGMENT_SLOTS = 1020,
};

/* Four kilobytes. A slot is the hash's tag above the row number plus one; 0 is empty. */
struct bk_table_segment {
    uint16_t used;
    uint8_t depth; /* so many top bits are common to all of its rows */
    uint8_t unused[13];
    uint32_t slots[BK_TABLE_SEGMENT_SLOTS];
};

/* table_memory.c: what they take stays taken until bk_table_fini. */
void *bk_table_take(struct bk_table *t, size_t n);
void bk_table_give(struct bk_table *t, void *p, size_t n);
/* An empty segment, or NULL. */
struct bk_table_segment *bk_table_take_segment(struct bk_table *t);
/* Makes sure that row number t->high exists. BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_table_need_page(struct bk_table *t);

#endif
