/* The file of TLS sessions: what is found again, and that a bad file is as good as none. */
#include "lib/place.h"
#include "net/tls_fixture.h"

#include <time.h>

#include "lib/sessions.h"

struct world {
    struct place *place;
    struct fixture *f;
    struct bk_tls_tickets *tickets;
};

static void serve_anew(struct world *w)
{
    struct bk_tls_server config = {.cert = w->f->server.cert,
                                   .key = w->f->server.key,
                                   .ca = w->f->pki.ca,
                                   .alpns = alpns,
                                   .n_alpns = 2};

    bk_tls_tickets_free(w->tickets);
    assert_int_equal(bk_tls_tickets_new(0, &w->tickets), BK_OK);
    config.tickets = w->tickets;
    bk_tls_free(w->f->tls_server);
    assert_int_equal(bk_tls_new_server(&config, &w->f->tls_server), BK_OK);
}

static int begin(void **state)
{
    static struct world w;
    void *place = NULL, *fixture = NULL;

    memset(&w, 0, sizeof w);
    if (place_make(&place) != 0 || set_up(&fixture) != 0) {
        return -1;
    }
    w.place = place;
    w.f = fixture;
    serve_anew(&w);
    *state = &w;
    return 0;
}

static int finish(void **state)
{
    struct world *w = *state;
    void *place = w->place, *fixture = w->f;

    bk_tls_tickets_free(w->tickets);
    (void)tear_down(&fixture);
    return place_remove(&place);
}

/* A connection of a process that has just opened the file; the handshake must stand. True: resumed. */
static bool connect_as(struct world *w, const struct bk_tls_client *client)
{
    struct bk_sessions *s = bk_sessions_open(w->place->dir);
    struct bk_tls *tls = NULL;
    struct outcome *o;

    assert_int_equal(bk_tls_new_client(client, &tls), BK_OK);
    bk_sessions_use(s, client, tls);
    bk_sessions_close(s); /* the client goes on with it */
    o = shake(tls, w->f->tls_server);
    bk_tls_free(tls);
    assert_int_equal(o->client, BK_TLS_OK);
    assert_int_equal(o->server, BK_TLS_OK);
    assert_int_equal(o->client_sees.resumed, o->server_sees.resumed);
    return o->client_sees.resumed;
}

static bool connect_again(struct world *w)
{
    return connect_as(w, &w->f->client);
}

/* Offers what is kept, and does not get as far as a connection. */
static void use_in_vain(struct world *w)
{
    struct bk_sessions *s = bk_sessions_open(w->place->dir);
    struct bk_tls *tls = NULL;

    assert_int_equal(bk_tls_new_client(&w->f->client, &tls), BK_OK);
    bk_sessions_use(s, &w->f->client, tls);
    bk_tls_free(tls);
    bk_sessions_close(s);
}

static size_t load(const struct world *w, uint8_t *buf, size_t cap)
{
    char path[160];
    FILE *file;
    size_t n;

    place_path(w->place, "sessions", path);
    file = fopen(path, "r");
    assert_non_null(file);
    n = fread(buf, 1, cap, file);
    assert_int_equal(fclose(file), 0);
    return n;
}

/* In place, so that the mode stays. */
static void patch(const struct world *w, size_t at, uint8_t byte)
{
    char path[160];
    int fd;

    place_path(w->place, "sessions", path);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    assert_int_equal(close(fd), 0);
}

static struct stat status_of(const struct world *w)
{
    char path[160];
    struct stat st;

    place_path(w->place, "sessions", path);
    assert_int_equal(lstat(path, &st), 0);
    return st;
}

/* ---- How it goes ---- */

static void test_found_again(void **state)
{
    struct world *w = *state;
    struct stat st;

    assert_false(connect_again(w));
    for (int i = 0; i < 5; i++) {
        assert_true(connect_again(w));
    }
    st = status_of(w);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(st.st_size > 0);
}

static void test_without_a_file(void **state)
{
    struct world *w = *state;
    struct bk_tls *tls = NULL;

    assert_null(bk_sessions_open("/nonexistent/beckon"));
    assert_int_equal(bk_tls_new_client(&w->f->client, &tls), BK_OK);
    bk_sessions_use(NULL, &w->f->client, tls);
    bk_tls_free(tls);
    bk_sessions_close(NULL);
    bk_sessions_forget("/nonexistent/beckon");
    bk_sessions_forget(w->place->dir);
}

static void test_forgotten(void **state)
{
    struct world *w = *state;
    struct bk_sessions *open_still;
    char path[160];

    assert_false(connect_again(w));
    open_still = bk_sessions_open(w->place->dir);
    bk_sessions_forget(w->place->dir);
    place_path(w->place, "sessions", path);
    assert_int_equal(access(path, F_OK), -1);
    bk_sessions_close(open_still);
    assert_false(connect_again(w));
    assert_true(connect_again(w));
}

/* One session is good for some calls at the same time, and not for ever: else a server that never gives another could
 * tell that they are one caller's. */
static void test_used_up(void **state)
{
    struct world *w = *state;

    assert_false(connect_again(w));
    for (int i = 0; i < BK_SESSIONS_USES - 1; i++) {
        use_in_vain(w);
    }
    assert_true(connect_again(w)); /* the last use; brings a fresh one */
    for (int i = 0; i < BK_SESSIONS_USES; i++) {
        use_in_vain(w);
    }
    assert_false(connect_again(w));
    assert_true(connect_again(w));
}

static void test_server_started_anew(void **state)
{
    struct world *w = *state;

    assert_false(connect_again(w));
    serve_anew(w);
    assert_false(connect_again(w));
    assert_true(connect_again(w));
}

/* ---- Whose they are ---- */

static void test_each_its_own(void **state)
{
    struct world *w = *state;
    struct bk_tls_client other = w->f->client, request = w->f->client, address = w->f->client;
    struct holder user = holder_new(&w->f->pki, "beckon:user:alice", false, -10, DAY_S);

    other.cert = user.cert;
    other.key = user.key;
    request.alpn = "beckon-request/1";
    address.host = "127.0.0.1";
    assert_false(connect_again(w));
    assert_false(connect_as(w, &other));
    assert_false(connect_as(w, &request));
    assert_false(connect_as(w, &address));
    assert_true(connect_again(w));
    assert_true(connect_as(w, &other));
    assert_true(connect_as(w, &request));
    assert_true(connect_as(w, &address));
    holder_free(&user);
}

/* A renewed certificate of the same device begins anew. */
static void test_renewed_certificate(void **state)
{
    struct world *w = *state;

    assert_false(connect_again(w));
    replace_device(w->f, &w->f->pki, "beckon:device:2133", -10, DAY_S);
    assert_false(connect_again(w));
    assert_true(connect_again(w));
}

/* More servers and protocols than there are places: one of them is forgotten for each that comes. */
static void test_more_than_places(void **state)
{
    struct world *w = *state;
    struct holder users[BK_SESSIONS_PLACES + 1];
    struct bk_tls_client client = w->f->client;
    unsigned kept = 0;

    for (size_t i = 0; i < COUNT(users); i++) {
        char uri[64];
        (void)snprintf(uri, sizeof uri, "beckon:user:u%zu", i);
        users[i] = holder_new(&w->f->pki, uri, false, -10, DAY_S);
        client.cert = users[i].cert;
        client.key = users[i].key;
        assert_false(connect_as(w, &client));
    }
    for (size_t i = COUNT(users); i > 0; i--) {
        client.cert = users[i - 1].cert;
        client.key = users[i - 1].key;
        kept += connect_as(w, &client);
        holder_free(&users[i - 1]);
    }
    assert_in_range(kept, BK_SESSIONS_PLACES - 1, BK_SESSIONS_PLACES);
}

/* ---- Bad files ---- */

static void test_any_byte_wrong(void **state)
{
    static uint8_t bytes[65536];
    struct world *w = *state;
    size_t n = 1, changed = 0;
    char path[160];

    place_path(w->place, "sessions", path);
    for (size_t at = 0; at < n; at += at < 80 ? 1 : 97) {
        if (at > 0) {
            assert_int_equal(truncate(path, 0), 0);
        }
        assert_false(connect_again(w));
        n = load(w, bytes, sizeof bytes);
        if (bytes[at] == 0) {
            continue; /* behind the session, mostly */
        }
        patch(w, at, bytes[at] ^ 0x40);
        assert_false(connect_again(w)); /* it stands */
        assert_true(connect_again(w));
        changed++;
    }
    assert_true(n > 500);
    assert_true(changed > 60);
}

static void test_cut_off(void **state)
{
    struct world *w = *state;
    static const off_t sizes[] = {1000, 75, 74, 33, 1, 0};
    char path[160];

    place_path(w->place, "sessions", path);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        (void)connect_again(w);
        assert_true(connect_again(w));
        assert_int_equal(truncate(path, sizes[i]), 0);
        assert_false(connect_again(w));
    }
}

static void test_nonsense(void **state)
{
    struct world *w = *state;
    static char noise[9000];
    char path[160];

    for (size_t i = 0; i < sizeof noise; i++) {
        noise[i] = (char)(i * i + 7);
    }
    place_write(w->place, "sessions", noise, sizeof noise);
    place_path(w->place, "sessions", path);
    assert_int_equal(chmod(path, 0600), 0);
    assert_false(connect_again(w));
    assert_true(connect_again(w));
}

/* What others could have read or written is not looked at, but replaced. */
static void test_open_to_others(void **state)
{
    static const mode_t modes[] = {0640, 0604, 0620, 0602, 0644};
    struct world *w = *state;
    char path[160];

    place_path(w->place, "sessions", path);
    for (size_t i = 0; i < COUNT(modes); i++) {
        (void)connect_again(w);
        assert_int_equal(chmod(path, modes[i]), 0);
        assert_false(connect_again(w));
        assert_int_equal(status_of(w).st_mode & 07777, 0600);
        assert_true(connect_again(w));
    }
}

static void test_somewhere_else(void **state)
{
    struct world *w = *state;
    char path[160], other[160];

    place_path(w->place, "sessions", path);
    place_path(w->place, "elsewhere", other);
    assert_false(connect_again(w));
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(symlink(other, path), 0);
    assert_null(bk_sessions_open(w->place->dir)); /* and then nothing is resumed */
    assert_false(connect_again(w));
    assert_false(connect_again(w));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(link(other, path), 0); /* two names */
    assert_false(connect_again(w));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_null(bk_sessions_open(w->place->dir));
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* must not hang */
    assert_false(connect_again(w));
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, begin, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_WORLD(test_found_again),
        WITH_WORLD(test_without_a_file),
        WITH_WORLD(test_forgotten),
        WITH_WORLD(test_used_up),
        WITH_WORLD(test_server_started_anew),
        WITH_WORLD(test_each_its_own),
        WITH_WORLD(test_renewed_certificate),
        WITH_WORLD(test_more_than_places),
        WITH_WORLD(test_any_byte_wrong),
        WITH_WORLD(test_cut_off),
        WITH_WORLD(test_nonsense),
        WITH_WORLD(test_open_to_others),
        WITH_WORLD(test_somewhere_else),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
