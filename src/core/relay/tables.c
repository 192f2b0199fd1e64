/* Places for connections, allocations and users; which is found by what. All memory is taken at the start, so that
 * nothing here fails later but for want of a place. */
#include <assert.h>
#include <string.h>

#include "core/relay/state.h"
#include "wire/alpn.h"

enum {
    CALL_NAME_DIGITS = 32,
};

/* A call's, and no host's: whoever could name the server itself would have the connections of all that call it. */
static bool is_call_name(struct bk_slice name)
{
    static const char suffix[] = BK_CALL_NAME_SUFFIX;
    if (name.n != CALL_NAME_DIGITS + sizeof suffix - 1) {
        return false;
    }
    for (size_t i = 0; i < name.n; i++) {
        uint8_t b = name.p[i];
        uint8_t low = b >= 'A' && b <= 'Z' ? (uint8_t)(b + 'a' - 'A') : b;
        bool digit = (low >= '0' && low <= '9') || (low >= 'a' && low <= 'f');
        if (i < CALL_NAME_DIGITS ? !digit : low != (uint8_t)suffix[i - CALL_NAME_DIGITS]) {
            return false;
        }
    }
    return true;
}

static uint64_t hash_text(const struct bk_relay_core *c, char kind, struct bk_slice text)
{
    uint8_t bytes[1 + BK_TURN_SERVER_NAME_MAX_BYTES];
    size_t n = text.n < sizeof bytes - 1 ? text.n : sizeof bytes - 1;
    bytes[0] = (uint8_t)kind;
    for (size_t i = 0; i < n; i++) {
        uint8_t b = text.p[i];
        bytes[1 + i] = b >= 'A' && b <= 'Z' ? (uint8_t)(b + 'a' - 'A') : b;
    }
    return bk_hash_bytes(c->seed, bk_slice(bytes, 1 + n));
}

/* ---- The whole ---- */

static void *get(struct bk_relay_core *c, size_t n, size_t size)
{
    return c->config.alloc.get(c->config.alloc.ctx, n * size);
}

static enum bk_err init_maps(struct bk_relay_core *c)
{
    const struct bk_alloc *alloc = &c->config.alloc;
    uint32_t n = c->config.max_connections, allocs = c->config.max_allocations;
    enum bk_err err = bk_map_init(&c->by_number, alloc, c->seed, n);
    if (err == BK_OK) {
        err = bk_map_init(&c->by_connection_id, alloc, c->seed, n);
    }
    if (err == BK_OK) {
        err = bk_map_init(&c->by_user, alloc, c->seed, allocs);
    }
    return err == BK_OK ? bk_map_init(&c->by_name, alloc, c->seed, allocs) : err;
}

enum bk_err relay_tables_init(struct bk_relay_core *c)
{
    size_t n = c->config.max_connections, allocs = c->config.max_allocations;
    c->conns = get(c, n, sizeof *c->conns);
    c->allocs = get(c, allocs, sizeof *c->allocs);
    c->users = get(c, allocs, sizeof *c->users);
    c->heap_nodes = get(c, n + allocs, sizeof(struct bk_timer *));
    if (c->conns == NULL || c->allocs == NULL || c->users == NULL || c->heap_nodes == NULL) {
        return BK_E_NOMEM;
    }
    bk_heap_init(&c->heap, c->heap_nodes, n + allocs);
    for (size_t i = n; i > 0; i--) {
        c->conns[i - 1].next = c->free_conns;
        c->free_conns = &c->conns[i - 1];
    }
    for (size_t i = allocs; i > 0; i--) {
        c->allocs[i - 1].number = i - 1;
        c->allocs[i - 1].next_free = c->free_allocs;
        c->free_allocs = &c->allocs[i - 1];
        c->users[i - 1].next_free = c->free_users;
        c->free_users = &c->users[i - 1];
    }
    return init_maps(c);
}

void relay_tables_fini(struct bk_relay_core *c)
{
    const struct bk_alloc *alloc = &c->config.alloc;
    bk_map_fini(&c->by_number);
    bk_map_fini(&c->by_connection_id);
    bk_map_fini(&c->by_user);
    bk_map_fini(&c->by_name);
    alloc->put(alloc->ctx, c->conns);
    alloc->put(alloc->ctx, c->allocs);
    alloc->put(alloc->ctx, c->users);
    alloc->put(alloc->ctx, c->heap_nodes);
}

/* ---- Connections ---- */

static void leave_fresh(struct bk_relay_core *c, struct relay_conn *conn)
{
    *(conn->older != NULL ? &conn->older->younger : &c->oldest) = conn->younger;
    *(conn->younger != NULL ? &conn->younger->older : &c->youngest) = conn->older;
    conn->older = conn->younger = NULL;
    c->n_fresh--;
}

static void leave_alloc(struct relay_conn *conn)
{
    struct relay_alloc *a = conn->alloc;
    assert(a != NULL);
    a->n_pending -= conn->kind == RELAY_PENDING;
    a->n_joined -= conn->kind == RELAY_JOINED;
    *conn->link = conn->next;
    if (conn->next != NULL) {
        conn->next->link = conn->link;
    }
}

/* Out of what it was; what it becomes is the caller's. */
static void leave(struct bk_relay_core *c, struct relay_conn *conn)
{
    bk_heap_clear(&c->heap, &conn->timer);
    if (conn->kind == RELAY_FRESH) {
        leave_fresh(c, conn);
        return;
    }
    assert(conn->alloc != NULL);
    conn->alloc->user->connections--;
    if (conn->kind == RELAY_CONTROL) {
        conn->alloc->control = NULL;
    } else {
        if (conn->connection_id != 0) {
            (void)bk_map_remove(&c->by_connection_id, conn->connection_id);
            conn->connection_id = 0;
        }
        leave_alloc(conn);
    }
    conn->alloc = NULL;
}

static void enter(struct bk_relay_core *c, struct relay_conn *conn, enum relay_conn_kind kind,
                  struct relay_alloc *alloc)
{
    conn->kind = kind;
    conn->alloc = alloc;
    if (kind == RELAY_FRESH) {
        conn->older = c->youngest;
        *(conn->older != NULL ? &conn->older->younger : &c->oldest) = conn;
        c->youngest = conn;
        c->n_fresh++;
        return;
    }
    assert(alloc != NULL);
    alloc->user->connections++;
    if (kind == RELAY_CONTROL) {
        alloc->control = conn;
    } else {
        alloc->n_pending += kind == RELAY_PENDING;
        alloc->n_joined += kind == RELAY_JOINED;
        conn->link = &alloc->conns;
        conn->next = alloc->conns;
        if (conn->next != NULL) {
            conn->next->link = &conn->next;
        }
        alloc->conns = conn;
    }
}

struct relay_conn *relay_conn_take(struct bk_relay_core *c, enum relay_conn_kind kind,
                                   uint64_t number, const struct bk_addr *from)
{
    struct relay_conn *conn = c->free_conns;
    assert(kind == RELAY_FRESH || kind == RELAY_PENDING);
    if (conn == NULL ||
        bk_map_put(&c->by_number, number, (uint64_t)(conn - c->conns) + 1) != BK_OK) {
        return NULL;
    }
    c->free_conns = conn->next;
    *conn = (struct relay_conn){.number = number, .from = *from};
    return conn;
}

struct relay_conn *relay_conn_find(const struct bk_relay_core *c, uint64_t number)
{
    uint64_t place = bk_map_get(&c->by_number, number);
    return place == 0 ? NULL : &c->conns[place - 1];
}

struct relay_conn *relay_conn_pending(const struct bk_relay_core *c, uint32_t connection_id)
{
    uint64_t place = bk_map_get(&c->by_connection_id, connection_id);
    return place == 0 ? NULL : &c->conns[place - 1];
}

void relay_conn_become(struct bk_relay_core *c, struct relay_conn *conn, enum relay_conn_kind kind,
                       struct relay_alloc *alloc)
{
    if (conn->kind != RELAY_FREE) {
        leave(c, conn);
    }
    enter(c, conn, kind, alloc);
}

bool relay_conn_wait(struct bk_relay_core *c, struct relay_conn *conn, uint32_t connection_id)
{
    if (bk_map_put(&c->by_connection_id, connection_id, (uint64_t)(conn - c->conns) + 1) != BK_OK) {
        return false;
    }
    conn->connection_id = connection_id;
    return true;
}

void relay_conn_forget(struct bk_relay_core *c, struct relay_conn *conn)
{
    if (conn->kind != RELAY_FREE) {
        leave(c, conn);
    }
    (void)bk_map_remove(&c->by_number, conn->number);
    *conn = (struct relay_conn){.next = c->free_conns};
    c->free_conns = conn;
}

/* ---- Users and allocations ---- */

struct relay_user *relay_user_find(const struct bk_relay_core *c, struct bk_slice name)
{
    uint64_t place = bk_map_get(&c->by_user, hash_text(c, 'u', name));
    struct relay_user *user = place == 0 ? NULL : &c->users[place - 1];
    return user != NULL && bk_slice_equal(bk_slice_text(user->name), name) ? user : NULL;
}

static struct relay_user *user_take(struct bk_relay_core *c, struct bk_slice name)
{
    struct relay_user *user = relay_user_find(c, name);
    if (user != NULL) {
        return user;
    }
    user = c->free_users;
    uint64_t hash = hash_text(c, 'u', name);
    /* A hash that is taken is another name's: not in a lifetime, under a secret seed. */
    if (user == NULL || bk_map_get(&c->by_user, hash) != 0 ||
        !bk_slice_to_text(name, user->name, sizeof user->name) ||
        bk_map_put(&c->by_user, hash, (uint64_t)(user - c->users) + 1) != BK_OK) {
        return NULL;
    }
    c->free_users = user->next_free;
    user->hash = hash;
    return user;
}

static void user_leave(struct bk_relay_core *c, struct relay_user *user)
{
    if (--user->allocations == 0) {
        (void)bk_map_remove(&c->by_user, user->hash);
        *user = (struct relay_user){.next_free = c->free_users};
        c->free_users = user;
    }
}

struct relay_alloc *relay_alloc_take(struct bk_relay_core *c, struct bk_slice name)
{
    struct relay_alloc *a = c->free_allocs;
    struct relay_user *user = a == NULL ? NULL : user_take(c, name);
    if (user == NULL) {
        return NULL;
    }
    c->free_allocs = a->next_free;
    uint64_t number = a->number + (UINT64_C(1) << 32);
    memset(a, 0, sizeof *a);
    a->used = true;
    a->number = number;
    a->user = user;
    user->allocations++;
    c->n_allocs++;
    return a;
}

struct relay_alloc *relay_alloc_find(const struct bk_relay_core *c, uint64_t number)
{
    uint32_t place = (uint32_t)number;
    struct relay_alloc *a = place < c->config.max_allocations ? &c->allocs[place] : NULL;
    return a != NULL && a->used && a->number == number ? a : NULL;
}

struct relay_alloc *relay_alloc_named(const struct bk_relay_core *c, struct bk_slice name)
{
    uint64_t place = bk_map_get(&c->by_name, hash_text(c, 'n', name));
    return place == 0 ? NULL : &c->allocs[place - 1];
}

static void forget_name(struct bk_relay_core *c, struct relay_alloc *a)
{
    assert(a != NULL);
    struct bk_slice name = bk_slice_text(a->server_name);
    if (name.n > 0 && relay_alloc_named(c, name) == a) {
        (void)bk_map_remove(&c->by_name, hash_text(c, 'n', name));
    }
    a->server_name[0] = '\0';
}

void relay_alloc_name(struct bk_relay_core *c, struct relay_alloc *a, struct bk_slice name)
{
    const struct relay_alloc *has = relay_alloc_named(c, name);
    if (!is_call_name(name)) {
        return;
    }
    if (has == a || (has != NULL && has->user != a->user)) {
        return; /* whoever had it first: nobody takes another's name away */
    }
    forget_name(c, a);
    if (bk_slice_to_text(name, a->server_name, sizeof a->server_name) &&
        bk_map_put(&c->by_name, hash_text(c, 'n', name), (uint64_t)(a - c->allocs) + 1) != BK_OK) {
        a->server_name[0] = '\0';
    }
}

void relay_alloc_forget(struct bk_relay_core *c, struct relay_alloc *a)
{
    while (a->conns != NULL) {
        relay_conn_forget(c, a->conns);
    }
    forget_name(c, a);
    bk_heap_clear(&c->heap, &a->timer);
    user_leave(c, a->user);
    c->n_allocs--;
    a->used = false;
    a->next_free = c->free_allocs;
    c->free_allocs = a;
}
