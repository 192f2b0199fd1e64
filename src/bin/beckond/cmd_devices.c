/* beckond devices: the location table of the running server beside the devices of the store. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/number.h"
#include "bin/beckond/admin_client.h"
#include "bin/beckond/cmd.h"
#include "bin/beckond/say.h"

struct rows {
    struct bk_admin_row *at;
    size_t n, cap;
};

static bool take_row(void *ctx, struct bk_slice line)
{
    struct rows *rows = ctx;
    struct bk_admin_row row;

    if (!bk_admin_row_read(line, &row)) {
        return false;
    }
    if (rows->n == rows->cap) {
        size_t cap = rows->cap == 0 ? 1024 : rows->cap * 2;
        struct bk_admin_row *at = realloc(rows->at, cap * sizeof *at);
        if (at == NULL) {
            return false;
        }
        rows->at = at;
        rows->cap = cap;
    }
    rows->at[rows->n++] = row;
    return true;
}

static int by_id(const void *a, const void *b)
{
    const struct bk_admin_row *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

/* Sorts, and drops what a change of the table in between repeated. */
static void tidy(struct rows *rows)
{
    size_t kept = 0;

    if (rows->n == 0) {
        return;
    }
    qsort(rows->at, rows->n, sizeof rows->at[0], by_id);
    for (size_t i = 1; i < rows->n; i++) {
        if (rows->at[i].id != rows->at[kept].id) {
            rows->at[++kept] = rows->at[i];
        }
    }
    rows->n = kept + 1;
}

/* ---- printing: one device at a time ---- */

struct printer {
    bool json;
    bool any;
};

static bool print_json(const char *id, const char *name, bool revoked,
                       const struct bk_admin_row *row)
{
    cJSON *o = cJSON_CreateObject();
    char text[BK_ADDR_TEXT_BYTES];
    char *line = NULL;
    bool ok = o != NULL;

    /* The ID goes in as its digits: cJSON's numbers are doubles. */
    ok = ok && cJSON_AddRawToObject(o, "id", id) != NULL;
    ok = ok && (name[0] == '\0' ? cJSON_AddNullToObject(o, "name")
                                : cJSON_AddStringToObject(o, "name", name)) != NULL;
    if (row == NULL) {
        ok = ok && cJSON_AddNullToObject(o, "address") != NULL;
        ok = ok && cJSON_AddNullToObject(o, "port") != NULL;
        ok = ok && cJSON_AddNullToObject(o, "last_seen_s") != NULL;
    } else {
        bk_addr_format_ip(&row->addr, text);
        ok = ok && cJSON_AddStringToObject(o, "address", text) != NULL;
        ok = ok && cJSON_AddNumberToObject(o, "port", row->addr.port) != NULL;
        ok = ok && cJSON_AddNumberToObject(o, "last_seen_s", (double)row->age_s) != NULL;
    }
    ok = ok && cJSON_AddBoolToObject(o, "revoked", revoked) != NULL;
    line = ok ? cJSON_PrintUnformatted(o) : NULL;
    ok = line != NULL && printf("%s", line) >= 0;
    cJSON_free(line);
    cJSON_Delete(o);
    return ok;
}

static bool print_device(struct printer *p, uint64_t id, const char *name, bool revoked,
                         const struct bk_admin_row *row)
{
    char digits[21], address[BK_ADDR_TEXT_BYTES] = "-", port[21] = "-", seen[32] = "-";
    bool first = !p->any;

    p->any = true;
    bk_number_format(id, digits);
    if (p->json) {
        return printf("%s", first ? "[\n  " : ",\n  ") >= 0 &&
               print_json(digits, name, revoked, row);
    }
    if (row != NULL) {
        bk_addr_format_ip(&row->addr, address);
        bk_number_format(row->addr.port, port);
        (void)snprintf(seen, sizeof seen, "%llu s ago", (unsigned long long)row->age_s);
    } else if (revoked) {
        (void)snprintf(seen, sizeof seen, "revoked");
    }
    if (first && printf("%-19s  %-20s  %-39s  %-5s  %s\n", "ID", "NAME", "ADDRESS", "PORT",
                        "LAST SEEN") < 0) {
        return false;
    }
    return printf("%-19s  %-20s  %-39s  %-5s  %s\n", digits, name[0] == '\0' ? "-" : name, address,
                  port, seen) >= 0;
}

/* Walks both lists by ascending ID. A row without an enrolled device can only come from a store that was
 * set back: it is shown too. */
static enum beckon_status print_all(struct bk_store *store, const struct rows *rows,
                                    struct printer *p)
{
    struct bk_store_device device;
    size_t at = 0;
    bool ok = true;
    enum bk_err err = bk_store_next_device(store, 0, &device);

    while (ok && (err == BK_OK || (err == BK_E_NOTFOUND && at < rows->n))) {
        bool have_row = at < rows->n;
        if (have_row && (err != BK_OK || rows->at[at].id < device.equipment_id)) {
            ok = print_device(p, rows->at[at].id, "", false, &rows->at[at]);
            at++;
            continue;
        }
        have_row = have_row && rows->at[at].id == device.equipment_id;
        ok = print_device(p, device.equipment_id, device.name, device.revoked,
                          have_row ? &rows->at[at] : NULL);
        at += have_row ? 1 : 0;
        err = bk_store_next_device(store, device.equipment_id, &device);
    }
    if (err == BK_E_IO) {
        return bk_cmd_store_failed(store);
    }
    if (p->json) {
        ok = ok && printf("%s", p->any ? "\n]\n" : "[]\n") >= 0;
    }
    if (!ok) {
        bk_say("standard output cannot be written; free some space or memory");
        return BECKON_FAILED;
    }
    return BECKON_OK;
}

static enum beckon_status run(int argc, char **argv)
{
    const char *dir = NULL;
    struct printer printer = {.json = false};
    const struct bk_option options[] = {
        {"--state", &dir, 1, NULL, NULL, true},
        {"--json", NULL, 0, NULL, &printer.json, false},
    };
    struct rows rows = {NULL, 0, 0};
    struct bk_store *store = NULL;
    enum beckon_status status = bk_cmd_options(argc, argv, options, 2, NULL, 0);

    if (status == BECKON_OK) {
        status = bk_cmd_store(dir, &store);
    }
    if (status == BECKON_OK) {
        status = bk_admin_ask(dir, BK_ADMIN_DEVICES, take_row, &rows);
    }
    if (status == BECKON_OK) {
        tidy(&rows);
        status = print_all(store, &rows, &printer);
    }
    bk_store_close(store);
    free(rows.at);
    return status;
}

const struct bk_command bk_cmd_devices = {
    .name = "devices",
    .summary = "show the location table: ID, name, address, port, last seen",
    .help =
        "usage: beckond devices --state DIR [--json]\n\n"
        "Shows every enrolled device by ascending ID, with the address and port from which it is\n"
        "registered at the running server and how long ago it was last heard; devices that are "
        "not\n"
        "registered come without.\n\n"
        "  --json   an array of {\"id\", \"name\", \"address\", \"port\", \"last_seen_s\", "
        "\"revoked\"},\n"
        "           null where there is nothing\n",
    .run = run,
};
