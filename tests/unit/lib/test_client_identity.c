/* Who a caller is: the key of his own that devices may know, and the certificate that is renewed in passing. */
#include "lib/place.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "lib/client.h"
#include "net/pki.h"
#include "seal/caller_key.h"

enum {
    EXCHANGE_MS = 8000, /* that a server may take for an answer where nobody waits for it */
};

static struct pki pki;

/* A user joined to a server on that port of 127.0.0.1, with a certificate valid between the two times from now. */
static void join(const struct place *p, unsigned port, int64_t from_s, int64_t until_s)
{
    struct holder user = holder_new(&pki, "beckon:user:alice", false, from_s, until_s);
    char path[160], text[80];

    place_path(p, "user.key", path);
    assert_int_equal(bk_x509_key_save(path, user.key, true), BK_OK);
    place_path(p, "user.crt", path);
    assert_int_equal(bk_x509_save(path, user.cert, true), BK_OK);
    place_path(p, "ca.crt", path);
    assert_int_equal(bk_x509_save(path, pki.ca, true), BK_OK);
    (void)snprintf(text, sizeof text, "[client]\nserver = 127.0.0.1\nport = %u\n", port);
    place_write_text(p, "beckon.conf", text);
    holder_free(&user);
}

/* ---- the caller's own key ---- */

static void test_key_is_made_once(void **state)
{
    struct place *p = *state;
    struct beckon_error error;
    struct bk_client_state s;
    char line[256], again[256], path[160];
    uint8_t key[BK_KEY_BYTES], raw[BK_KEY_BYTES];
    struct stat st;

    assert_int_equal(beckon_client_key(p->dir, line, sizeof line, &error), BECKON_NOT_JOINED);
    join(p, 1, -60, 3600);
    assert_int_equal(bk_client_state_read(p->dir, &s, &error), BECKON_OK);
    assert_null(s.caller); /* nobody gets one unasked */
    bk_client_state_fini(&s);
    assert_int_equal(beckon_client_key(p->dir, line, sizeof line, &error), BECKON_OK);
    assert_int_equal(strlen(line), 43 + 6);
    assert_string_equal(line + 43, " alice");
    assert_int_equal(bk_caller_key_parse(bk_slice(line, 43), key), BK_OK);
    place_path(p, "caller.key", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(bk_client_state_read(p->dir, &s, &error), BECKON_OK);
    assert_non_null(s.caller);
    assert_int_equal(bk_x509_key_raw(s.caller, raw), BK_OK);
    assert_memory_equal(raw, key, sizeof key);
    bk_client_state_fini(&s);
    assert_null(s.caller);
    assert_int_equal(beckon_client_key(p->dir, again, sizeof again, &error), BECKON_OK);
    assert_string_equal(again, line);
    assert_int_equal(beckon_client_key(p->dir, again, strlen(line), &error), BECKON_FAILED);
    assert_int_equal(beckon_client_key(p->dir, again, strlen(line) + 1, &error), BECKON_OK);
}

static void test_damaged_key(void **state)
{
    struct place *p = *state;
    struct bk_client_state s;
    struct beckon_error error;
    char line[256];

    join(p, 1, -60, 3600);
    place_write_text(p, "caller.key", "no PEM\n");
    assert_int_equal(beckon_client_key(p->dir, line, sizeof line, &error), BECKON_BAD_CONFIG);
    assert_error(&error, BECKON_BAD_CONFIG, "caller.key");
    assert_int_equal(bk_client_state_read(p->dir, &s, &error), BECKON_BAD_CONFIG);
    assert_error(&error, BECKON_BAD_CONFIG, "\"beckon key\"");
    assert_null(s.own.key);
}

static void test_two_at_once_agree(void **state)
{
    enum { PROGRAMS = 8 };
    struct place *p = *state;
    char lines[PROGRAMS][256] = {0};
    int start[2], tell[PROGRAMS][2];
    pid_t pids[PROGRAMS];
    char go = 0;

    join(p, 1, -60, 3600);
    assert_int_equal(pipe(start), 0);
    for (size_t i = 0; i < PROGRAMS; i++) {
        assert_int_equal(pipe(tell[i]), 0);
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            struct beckon_error error;
            bool good = read(start[0], &go, 1) == 1 &&
                        beckon_client_key(p->dir, lines[i], sizeof lines[i], &error) == BECKON_OK &&
                        write(tell[i][1], lines[i], sizeof lines[i]) == sizeof lines[i];

            _exit(good ? 0 : 1);
        }
    }
    assert_int_equal(write(start[1], lines, PROGRAMS), PROGRAMS);
    for (size_t i = 0; i < PROGRAMS; i++) {
        int status;

        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
        assert_int_equal(read(tell[i][0], lines[i], sizeof lines[i]), sizeof lines[i]);
        assert_string_equal(lines[i], lines[0]);
        close(tell[i][0]);
        close(tell[i][1]);
    }
    close(start[0]);
    close(start[1]);
}

/* ---- the certificate ---- */

static unsigned logged;
static char last_line[512];

static void on_log(void *ctx, int level, const char *line)
{
    (void)ctx;
    assert_int_equal(level, 1); /* nothing that a person must see */
    (void)snprintf(last_line, sizeof last_line, "%s", line);
    logged++;
}

static struct beckon_client *client_of(const struct place *p)
{
    struct beckon_client_options options = {.state_dir = p->dir, .log = on_log};
    struct beckon_client *client;
    struct beckon_error error;

    logged = 0;
    assert_int_equal(beckon_client_new(&options, &client, &error), BECKON_OK);
    return client;
}

/* A listener on loopback that accepts nothing, or a port where nothing listens. */
static int silent_port(unsigned *port, bool listens)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listens ? listen(fd, 4) : 0, 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

static uint64_t renew_ms(struct beckon_client *client, enum beckon_status expected,
                         struct beckon_error *error)
{
    bk_time began = bk_now_sample().mono;

    assert_int_equal(bk_client_renew(client, error), expected);
    return (bk_now_sample().mono - began) / BK_MS;
}

static void test_a_young_certificate_is_left_alone(void **state)
{
    struct place *p = *state;
    struct beckon_client *client;
    struct beckon_error error;

    join(p, 1, -60, 3600);
    client = client_of(p);
    assert_int_equal(bk_client_renew(client, &error), BECKON_OK);
    assert_int_equal(logged, 0);
    assert_false(client->renewal_tried);
    beckon_client_free(client);
}

/* A server that cannot be reached, or does not answer, holds up one call for a second, and none of the next hour. */
static void test_failing_to_renew_a_valid_one_is_a_line(void **state)
{
    struct place *p = *state;
    struct beckon_error error;

    for (int listens = 0; listens < 2; listens++) {
        struct beckon_client *client;
        unsigned port;
        int fd = silent_port(&port, listens != 0);
        uint64_t took;

        join(p, port, -3600, 60);
        client = client_of(p);
        took = renew_ms(client, BECKON_OK, &error);
        assert_true(!listens || took >= 900);
        assert_true(took < EXCHANGE_MS);
        assert_int_equal(logged, 1);
        assert_non_null(strstr(last_line, listens ? "the server takes too long"
                                                  : "check that it runs and is reachable"));
        assert_int_equal(bk_client_renew(client, &error), BECKON_OK);
        assert_int_equal(logged, 1);                  /* not even tried */
        client->renewal_again = bk_now_sample().mono; /* the hour is over */
        assert_int_equal(bk_client_renew(client, &error), BECKON_OK);
        assert_int_equal(logged, 2);
        beckon_client_free(client);
        close(fd);
    }
}

/* It is tried before every call, and the call then tells what the server makes of it. */
static void test_an_expired_one_is_tried_every_time(void **state)
{
    struct place *p = *state;
    struct beckon_client *client;
    struct beckon_error error;
    unsigned port;
    int fd = silent_port(&port, false);

    join(p, port, -3600, -1);
    client = client_of(p);
    assert_true(bk_client_expired(client));
    for (unsigned i = 1; i <= 2; i++) {
        assert_int_equal(bk_client_renew(client, &error), BECKON_OK);
        assert_int_equal(logged, i);
        assert_non_null(strstr(last_line, "our certificate has expired and was not renewed: "));
    }
    beckon_client_free(client);
    close(fd);
    fd = silent_port(&port, true); /* a person need not wait for an answer */
    join(p, port, -3600, -1);
    client = client_of(p);
    beckon_client_stop(client);
    assert_true(renew_ms(client, BECKON_INTERRUPTED, &error) < EXCHANGE_MS);
    beckon_client_free(client);
    close(fd);
}

static void test_renewed_is_kept(void **state)
{
    struct place *p = *state;
    struct bk_client_state s, again;
    struct beckon_error error;
    struct holder other = holder_new(&pki, "beckon:user:alice", false, -60, 7200);

    join(p, 1, -3600, 60);
    assert_int_equal(bk_client_state_read(p->dir, &s, &error), BECKON_OK);
    assert_int_equal(X509_up_ref(other.cert), 1);
    assert_int_equal(bk_client_state_renewed(p->dir, &s, other.cert), BK_OK);
    assert_ptr_equal(s.own.cert, other.cert);
    assert_int_equal(bk_client_state_read(p->dir, &again, &error), BECKON_OK);
    assert_int_equal(X509_cmp(again.own.cert, other.cert), 0);
    bk_client_state_fini(&again);
    bk_client_state_fini(&s);
    holder_free(&other);
}

static int group(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    pki = pki_new();
    return bk_seal_init() == BK_OK ? 0 : -1;
}

static int group_end(void **state)
{
    (void)state;
    pki_free(&pki);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PLACE(test_key_is_made_once),
        WITH_PLACE(test_damaged_key),
        WITH_PLACE(test_two_at_once_agree),
        WITH_PLACE(test_a_young_certificate_is_left_alone),
        WITH_PLACE(test_failing_to_renew_a_valid_one_is_a_line),
        WITH_PLACE(test_an_expired_one_is_tried_every_time),
        WITH_PLACE(test_renewed_is_kept),
    };

    return cmocka_run_group_tests(tests, group, group_end);
}
