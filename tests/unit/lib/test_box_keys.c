/* box.key: what is kept, what is destroyed and when. */
#include "lib/place.h"

#include "lib/box_keys.h"

enum {
    NOW_S = 1800000000,
};

static struct bk_box_pair pair_of(uint8_t byte)
{
    struct bk_box_pair pair;

    memset(&pair, byte, sizeof pair);
    return pair;
}

static bool same(const struct bk_box_pair *a, uint8_t byte)
{
    struct bk_box_pair b = pair_of(byte);

    return memcmp(a, &b, sizeof b) == 0;
}

static void test_round_trips(void **state)
{
    struct place *p = *state;
    struct bk_box_keys in, out;
    struct beckon_error error;
    char path[160];
    struct stat st;

    assert_int_equal(bk_box_keys_read(p->dir, &out, &error), BECKON_NOT_JOINED);
    assert_error(&error, BECKON_NOT_JOINED,
                 "box.key is not there; calls fail until \"beckon-agent run\"");
    for (unsigned flags = 0; flags < 4; flags++) {
        in = (struct bk_box_keys){.current = pair_of(1),
                                  .has_next = (flags & 1) != 0,
                                  .next = pair_of(2),
                                  .has_previous = (flags & 2) != 0,
                                  .previous = pair_of(3),
                                  .replaced_s = NOW_S};
        assert_int_equal(bk_box_keys_write(p->dir, &in), BK_OK);
        assert_int_equal(bk_box_keys_read(p->dir, &out, &error), BECKON_OK);
        assert_true(same(&out.current, 1));
        assert_int_equal(out.has_next, in.has_next);
        assert_int_equal(out.has_previous, in.has_previous);
        assert_true(same(&out.next, in.has_next ? 2 : 0));
        assert_true(same(&out.previous, in.has_previous ? 3 : 0));
        assert_true(out.replaced_s == (in.has_previous ? NOW_S : 0));
    }
    place_path(p, "box.key", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

/* A bare pair, as agents wrote it that renewed nothing; and whatever is damaged. */
static void test_other_files(void **state)
{
    struct place *p = *state;
    struct bk_box_keys out;
    struct beckon_error error;
    char bytes[256] = {0};

    memset(bytes, 5, 64);
    place_write(p, "box.key", bytes, 64);
    assert_int_equal(bk_box_keys_read(p->dir, &out, &error), BECKON_OK);
    assert_true(same(&out.current, 5));
    assert_false(out.has_next || out.has_previous);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        if (n == 64) {
            continue;
        }
        place_write(p, "box.key", bytes, n); /* of no known version, or too long */
        assert_int_equal(bk_box_keys_read(p->dir, &out, &error), BECKON_BAD_CONFIG);
        assert_error(&error, BECKON_BAD_CONFIG, "box.key is damaged");
    }
    memset(bytes, 0, sizeof bytes);
    place_write(p, "box.key", bytes, 64); /* overwritten */
    assert_int_equal(bk_box_keys_read(p->dir, &out, &error), BECKON_BAD_CONFIG);
    bytes[0] = 2;
    bytes[1] = 4; /* a flag that there is not */
    place_write(p, "box.key", bytes, 202);
    assert_int_equal(bk_box_keys_read(p->dir, &out, &error), BECKON_BAD_CONFIG);
    bytes[1] = 3;
    place_write(p, "box.key", bytes, 202);
    assert_int_equal(bk_box_keys_read(p->dir, &out, &error), BECKON_OK);
}

/* What a replaced file held is no longer on the disk where it was. */
static void test_overwritten(void **state)
{
    struct place *p = *state;
    struct bk_box_keys keys = {.current = pair_of(7)};
    char path[160], bytes[256], none[256] = {0};
    ssize_t n;
    int before;

    assert_int_equal(bk_box_keys_write(p->dir, &keys), BK_OK);
    place_path(p, "box.key", path);
    before = open(path, O_RDONLY);
    assert_true(before >= 0);
    keys.current = pair_of(8);
    assert_int_equal(bk_box_keys_write(p->dir, &keys), BK_OK);
    n = read(before, bytes, sizeof bytes);
    assert_true(n > 64);
    assert_memory_equal(bytes, none, (size_t)n);
    close(before);
}

/* What a crash left of an earlier write holds keys as well, and goes with the next write. */
static void test_strays(void **state)
{
    static const char *const others[] = {"box.key.tmp", "device.key.0badcafe.tmp", "box.key.old"};
    struct place *p = *state;
    struct bk_box_keys keys = {.current = pair_of(7)};
    char path[160], bytes[256], none[256] = {0};
    int before;

    memset(bytes, 9, sizeof bytes);
    place_write(p, "box.key.0badcafe.tmp", bytes, 202);
    for (size_t i = 0; i < COUNT(others); i++) {
        place_write(p, others[i], bytes, 202);
    }
    place_path(p, "box.key.0badcafe.tmp", path);
    before = open(path, O_RDONLY);
    assert_true(before >= 0);
    assert_int_equal(bk_box_keys_write(p->dir, &keys), BK_OK);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(read(before, bytes, sizeof bytes), 202);
    assert_memory_equal(bytes, none, 202);
    close(before);
    for (size_t i = 0; i < COUNT(others); i++) {
        place_path(p, others[i], path);
        assert_int_equal(access(path, F_OK), 0);
    }
}

static void put_previous(const struct place *p, uint64_t replaced_s)
{
    struct bk_box_keys keys = {.current = pair_of(1),
                               .has_next = true,
                               .next = pair_of(2),
                               .has_previous = true,
                               .previous = pair_of(3),
                               .replaced_s = replaced_s};

    assert_int_equal(bk_box_keys_write(p->dir, &keys), BK_OK);
}

static void test_prune(void **state)
{
    static const struct {
        uint64_t replaced_s, unix_s;
        bool waited, left;
    } cases[] = {
        {NOW_S, NOW_S, false, true},
        {NOW_S, NOW_S + 599, false, true},
        {NOW_S, NOW_S + 600, false, false},
        {NOW_S, NOW_S - 600, false, true},
        {NOW_S, NOW_S - 601, false, false}, /* the clock was set back: nobody knows how long */
        {NOW_S, 0, false, true},
        {NOW_S, 0, true, false},
        {NOW_S, NOW_S + 599, true, true}, /* the clocks can tell */
        {0, NOW_S, false, true},
        {0, NOW_S, true, false},
    };
    struct place *p = *state;
    struct bk_box_keys out;
    struct beckon_error error;
    bool left;
    int lock;

    assert_int_equal(bk_box_keys_prune(p->dir, NOW_S, true, &left), BK_E_IO); /* no file */
    for (size_t i = 0; i < COUNT(cases); i++) {
        put_previous(p, cases[i].replaced_s);
        assert_int_equal(bk_box_keys_prune(p->dir, cases[i].unix_s, cases[i].waited, &left), BK_OK);
        assert_int_equal(left, cases[i].left);
        assert_int_equal(bk_box_keys_read(p->dir, &out, &error), BECKON_OK);
        assert_int_equal(out.has_previous, cases[i].left);
        assert_true(same(&out.current, 1) && out.has_next && same(&out.next, 2));
    }
    put_previous(p, NOW_S);
    lock = bk_box_keys_lock(p->dir); /* a renewal is under way: later */
    assert_true(lock >= 0);
    assert_int_equal(bk_box_keys_lock(p->dir), -1);
    assert_int_equal(bk_box_keys_prune(p->dir, NOW_S + 600, true, &left), BK_E_IO);
    assert_true(left);
    bk_box_keys_unlock(lock);
    assert_int_equal(bk_box_keys_prune(p->dir, NOW_S + 600, true, &left), BK_OK);
    assert_false(left);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PLACE(test_round_trips), WITH_PLACE(test_other_files), WITH_PLACE(test_overwritten),
        WITH_PLACE(test_strays),      WITH_PLACE(test_prune),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
