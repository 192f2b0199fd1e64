/* The HTTP/2 session when all goes as it should: streams, halves, files, limits, the graceful end. */
#include "net/h2_pair.h"

#include <sys/stat.h>

/* ---- Many ---- */

enum { MANY = 1000 };
static struct end *served[MANY];
static unsigned n_served;

static void serve_echo(struct bk_h2_stream *s, const char *authority)
{
    assert_string_equal(authority, "echo:1");
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    assert_int_equal(bk_h2_accept(s, fd[0], fd[0]), BK_OK);
    struct end *e = end_new(fd[1]);
    e->echo = true;
    e->shut_at_eof = true;
    served[n_served++] = e;
}

static void thousand_small_streams_all_end_cleanly(void **state)
{
    (void)state;
    static struct end *ends[MANY];
    n_served = 0;
    w.serve = serve_echo;
    for (unsigned i = 0; i < MANY; i++) {
        int fd[2];
        struct bk_h2_stream *s;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
        assert_int_equal(bk_h2_open(w.c.h, "echo:1", fd[0], fd[0], &ends[i], &s), BK_OK);
        assert_ptr_equal(bk_h2_stream_owner(s), &ends[i]);
        ends[i] = end_new(fd[1]);
        ends[i]->to_send = 100 + i * 7;
        ends[i]->shut_when_sent = true;
        end_fill(ends[i]);
    }
    assert_int_equal(bk_h2_streams(w.c.h), MANY);
    RUN_UNTIL(w.c.finished == MANY && w.s.finished == MANY);
    assert_int_equal(w.c.clean, MANY);
    assert_int_equal(w.s.clean, MANY);
    assert_int_equal(bk_h2_streams(w.c.h), 0);
    assert_int_equal(bk_h2_streams(w.s.h), 0);
    for (unsigned i = 0; i < MANY; i++) {
        RUN_UNTIL(ends[i]->eof);
        assert_int_equal(ends[i]->got, 100 + i * 7);
        assert_same_hash(ends[i], ends[i]);
        end_free(ends[i]);
        end_free(served[i]);
    }
}

static void large_both_ways_at_once(void **state)
{
    (void)state;
    const uint64_t size = 64 * 1024 * 1024 + 12345;
    struct end *c = open_end("bulk:1", NULL);
    RUN_UNTIL(w.s.requests == 1);
    struct end *s = accept_end(w.s.stream);
    c->to_send = s->to_send = size;
    c->shut_when_sent = s->shut_when_sent = true;
    end_fill(c);
    end_fill(s);
    RUN_UNTIL(w.c.finished == 1 && w.s.finished == 1 && c->eof && s->eof);
    assert_int_equal(w.c.clean, 1);
    assert_int_equal(w.s.clean, 1);
    assert_true(w.c.last.sent_bytes == size && w.c.last.received_bytes == size);
    assert_true(w.s.last.sent_bytes == size && w.s.last.received_bytes == size);
    assert_same_hash(c, s);
    assert_same_hash(s, c);
    end_free(c);
    end_free(s);
}

/* ---- Halves ---- */

static void half_close_by_the_client(void **state)
{
    (void)state;
    struct end *c = open_end("ssh:1", NULL);
    RUN_UNTIL(w.s.requests == 1);
    assert_string_equal(w.s.authority, "ssh:1");
    struct end *s = accept_end(w.s.stream);
    c->to_send = 1000;
    c->shut_when_sent = true;
    end_fill(c);
    RUN_UNTIL(s->eof);
    assert_int_equal(s->got, 1000);
    assert_int_equal(w.c.finished + w.s.finished, 0);
    assert_false(c->eof);
    s->to_send = 300000; /* answered only now */
    s->shut_when_sent = true;
    end_fill(s);
    RUN_UNTIL(c->eof && w.c.finished == 1 && w.s.finished == 1);
    assert_int_equal(c->got, 300000);
    assert_int_equal(w.c.clean + w.s.clean, 2);
    end_free(c);
    end_free(s);
}

static void half_close_by_the_server(void **state)
{
    (void)state;
    struct end *c = open_end("ssh:1", NULL);
    RUN_UNTIL(w.s.requests == 1);
    struct end *s = accept_end(w.s.stream);
    s->shut_when_sent = true; /* nothing to say at all */
    end_fill(s);
    RUN_UNTIL(c->eof);
    assert_int_equal(w.c.finished + w.s.finished, 0);
    c->to_send = 300000;
    c->shut_when_sent = true;
    end_fill(c);
    RUN_UNTIL(s->eof && w.c.finished == 1 && w.s.finished == 1);
    assert_int_equal(s->got, 300000);
    assert_int_equal(w.c.clean + w.s.clean, 2);
    end_free(c);
    end_free(s);
}

/* ---- Descriptors that are no sockets ---- */

static int temp_file(void)
{
    char path[] = "/tmp/beckon-test-h2-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    return fd;
}

static void files_and_pipes_as_ends(void **state)
{
    (void)state;
    enum { SIZE = 700001 };
    int in = temp_file(), out[2], kept;
    char *bytes = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) {
        bytes[i] = (char)(i * 31 >> 3);
    }
    assert_int_equal(write(in, bytes, SIZE), SIZE);
    lseek(in, 0, SEEK_SET);
    assert_int_equal(pipe(out), 0);
    kept = dup(out[1]); /* the same open file description: shows what was done to its flags */
    struct bk_h2_stream *s;
    assert_int_equal(bk_h2_open(w.c.h, "echo:1", in, out[1], NULL, &s), BK_OK);
    w.serve = serve_echo;
    n_served = 0;
    assert_true(fcntl(kept, F_GETFL) & O_NONBLOCK);
    struct end *reader = end_new(out[0]);
    RUN_UNTIL(w.c.finished == 1 && reader->got == SIZE);
    assert_int_equal(w.c.clean, 1);
    assert_false(fcntl(kept, F_GETFL) & O_NONBLOCK);
    EVP_DigestUpdate(reader->hash_out, bytes, SIZE);
    assert_same_hash(reader, reader);
    close(kept);
    RUN_UNTIL(reader->eof);
    end_free(reader);
    end_free(served[0]);
    free(bytes);
}

static void a_file_as_the_place_to_write_to(void **state)
{
    (void)state;
    int file = temp_file();
    int pipe_fd[2];
    struct bk_h2_stream *s;
    assert_int_equal(pipe(pipe_fd), 0);
    int out = dup(file);
    assert_int_equal(bk_h2_open(w.c.h, "bulk:1", pipe_fd[0], out, NULL, &s), BK_OK);
    RUN_UNTIL(w.s.requests == 1);
    struct end *e = accept_end(w.s.stream);
    e->to_send = 5 * 1024 * 1024;
    e->shut_when_sent = true;
    end_fill(e);
    close(pipe_fd[1]);
    RUN_UNTIL(w.c.finished == 1);
    assert_int_equal(w.c.clean, 1);
    struct stat st;
    fstat(file, &st);
    assert_int_equal(st.st_size, 5 * 1024 * 1024);
    assert_int_equal(fcntl(out, F_GETFD), -1);
    close(file);
    end_free(e);
}

static void dev_null_as_both_ends(void **state)
{
    (void)state;
    struct bk_h2_stream *s;
    w.serve = serve_echo;
    n_served = 0;
    int fd = open("/dev/null", O_RDWR);
    assert_int_equal(bk_h2_open(w.c.h, "echo:1", fd, dup(fd), NULL, &s), BK_OK);
    RUN_UNTIL(w.c.finished == 1 && w.s.finished == 1);
    assert_int_equal(w.c.clean, 1);
    end_free(served[0]);
}

/* One description under two numbers, as a terminal's are: blocking again at the end, not before. */
static void flags_of_a_shared_description(void **state)
{
    (void)state;
    int fd[2];
    struct bk_h2_stream *s;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    int kept = dup(fd[0]);
    assert_int_equal(bk_h2_open(w.c.h, "x:1", fd[0], dup(fd[0]), NULL, &s), BK_OK);
    RUN_UNTIL(w.s.requests == 1);
    struct end *e = accept_end(w.s.stream);
    struct end *user = end_new(fd[1]);
    e->shut_when_sent = true;
    end_fill(e);
    RUN_UNTIL(user->eof);
    assert_true(fcntl(kept, F_GETFL) & O_NONBLOCK);
    user->shut_when_sent = true;
    end_fill(user);
    RUN_UNTIL(w.c.finished == 1);
    assert_int_equal(w.c.clean, 1);
    assert_false(fcntl(kept, F_GETFL) & O_NONBLOCK);
    close(kept);
    end_free(e);
    end_free(user);
}

/* ---- Flow ---- */

static void slow_readers_hold_nobody_up(void **state)
{
    (void)state;
    enum { SLOW = 40 };
    struct end *c[SLOW + 1], *s[SLOW + 1];
    for (unsigned i = 0; i <= SLOW; i++) {
        c[i] = open_end("bulk:1", NULL);
        if (i < SLOW) {
            bufferevent_disable(c[i]->bev, EV_READ);
        }
        RUN_UNTIL(w.s.requests == i + 1);
        s[i] = accept_end(w.s.stream);
        s[i]->to_send = UINT64_C(64) << 20;
        end_fill(s[i]);
    }
    RUN_UNTIL(c[SLOW]->got == UINT64_C(64) << 20);
    size_t queued = bk_h2_queued_bytes(w.c.h);
    assert_true(queued > 0);
    assert_true(queued <= (size_t)SLOW * BK_H2_WINDOW_FIRST_BYTES + BK_H2_WINDOW_GROWTH_BYTES);
    assert_int_equal(w.c.finished, 0);
    /* A small stream too, and what goes up. */
    struct end *small = open_end("small:1", NULL);
    RUN_UNTIL(w.s.requests == SLOW + 2);
    struct end *small_s = accept_end(w.s.stream);
    small_s->echo = true;
    small->to_send = 1000;
    end_fill(small);
    RUN_UNTIL(small->got == 1000);
    /* Once it reads, everything is there. */
    bufferevent_enable(c[0]->bev, EV_READ);
    RUN_UNTIL(c[0]->got == UINT64_C(64) << 20);
    assert_same_hash(s[0], c[0]);
    for (unsigned i = 0; i <= SLOW; i++) {
        end_free(c[i]);
        end_free(s[i]);
    }
    end_free(small);
    end_free(small_s);
}

static void ping_comes_back(void **state)
{
    (void)state;
    assert_int_equal(bk_h2_ping(w.c.h), BK_OK);
    assert_int_equal(bk_h2_ping(w.c.h), BK_E_STATE);
    RUN_UNTIL(w.c.pongs == 1);
    assert_int_equal(bk_h2_ping(w.c.h), BK_OK);
    assert_int_equal(bk_h2_ping(w.s.h), BK_OK);
    RUN_UNTIL(w.c.pongs == 2 && w.s.pongs == 1);
    assert_int_equal(w.c.started, 1);
    assert_int_equal(w.s.started, 1);
}

/* ---- The graceful end ---- */

static void shutdown_lets_open_streams_finish(void **state)
{
    (void)state;
    struct end *c = open_end("ssh:1", NULL);
    RUN_UNTIL(w.s.requests == 1);
    struct end *s = accept_end(w.s.stream);
    bk_h2_shutdown(w.c.h);
    bk_h2_shutdown(w.c.h);
    struct bk_h2_stream *none;
    int fd = dup(0);
    assert_int_equal(bk_h2_open(w.c.h, "ssh:1", fd, fd, NULL, &none), BK_E_STATE);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    RUN_UNTIL(w.s.going == 1);
    assert_false(bk_h2_is_open(w.s.h));
    c->to_send = s->to_send = 3000000;
    c->shut_when_sent = s->shut_when_sent = true;
    end_fill(c);
    end_fill(s);
    w.c.free_at_end = true;
    RUN_UNTIL(w.c.ended && w.s.ended);
    assert_int_equal(w.c.why, BK_OK);
    assert_int_equal(w.s.why, BK_OK);
    assert_int_equal(w.c.clean + w.s.clean, 2);
    RUN_UNTIL(c->eof && s->eof);
    assert_int_equal(c->got, 3000000);
    assert_int_equal(s->got, 3000000);
    assert_null(bk_h2_ssl(w.s.h));
    end_free(c);
    end_free(s);
}

static void shutdown_by_the_server(void **state)
{
    (void)state;
    RUN_UNTIL(w.c.started == 1);
    bk_h2_shutdown(w.s.h);
    RUN_UNTIL(w.c.ended && w.s.ended);
    assert_int_equal(w.c.why, BK_OK);
    assert_int_equal(w.s.why, BK_OK);
    int fd = dup(0);
    struct bk_h2_stream *none;
    assert_int_equal(bk_h2_open(w.c.h, "ssh:1", fd, fd, NULL, &none), BK_E_STATE);
    assert_int_equal(bk_h2_ping(w.c.h), BK_E_STATE);
}

/* The session ends while a local reader still has not taken its bytes: they are delivered, not cut. */
static void the_tail_outlives_the_session(void **state)
{
    (void)state;
    struct end *c, *s;
    open_with_tail(&c, &s);
    bk_h2_shutdown(w.s.h);
    RUN_UNTIL(w.s.ended);
    assert_int_equal(w.s.why, BK_OK);
    assert_int_equal(w.c.finished, 0);
    assert_false(w.c.ended);
    bufferevent_enable(c->bev, EV_READ);
    RUN_UNTIL(w.c.ended && c->eof);
    assert_int_equal(w.c.why, BK_OK);
    assert_int_equal(w.c.clean, 1);
    assert_int_equal(c->got, s->to_send);
    end_free(c);
    end_free(s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup_pair, teardown)
    const struct CMUnitTest tests[] = {
        T(thousand_small_streams_all_end_cleanly),
        T(large_both_ways_at_once),
        T(half_close_by_the_client),
        T(half_close_by_the_server),
        T(files_and_pipes_as_ends),
        T(a_file_as_the_place_to_write_to),
        T(dev_null_as_both_ends),
        T(flags_of_a_shared_description),
        T(slow_readers_hold_nobody_up),
        T(ping_comes_back),
        T(shutdown_lets_open_streams_finish),
        T(shutdown_by_the_server),
        T(the_tail_outlives_the_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
