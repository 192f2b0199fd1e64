/* What commands make of the state: init with a CA that is elsewhere, a lost key of the CA, epochs. */
#include "beckond/lifecycle_world.h"

#include <sys/stat.h>

static void test_external_init(void **state)
{
    struct fixture *f = *state;
    char again[160], bad[160], path[200];
    uint8_t pin[BK_PIN_BYTES];

    (void)snprintf(again, sizeof again, "%s/again", f->place->dir);
    assert_int_equal(
        RUN(&bk_cmd_init, "init", "--state", again, "--host", "h", "--external-ca", f->ca_dir),
        0); /* the CA that is there is used */
    assert_int_equal(bk_authority_pin(again, pin), BK_OK);
    assert_memory_equal(pin, f->authority.ca_pin, sizeof pin);
    (void)snprintf(path, sizeof path, "%s/requests", again);
    empty(path);
    empty(again);
    /* Half a CA is none, and nothing is left behind. */
    (void)snprintf(path, sizeof path, "%s/ca.crt", f->ca_dir);
    assert_int_equal(unlink(path), 0);
    assert_int_not_equal(
        RUN(&bk_cmd_init, "init", "--state", again, "--host", "h", "--external-ca", f->ca_dir), 0);
    assert_int_not_equal(access(again, F_OK), 0);
    (void)snprintf(path, sizeof path, "%s/ca.key", f->ca_dir);
    assert_int_equal(access(path, F_OK), 0); /* what was there stays */
    (void)snprintf(bad, sizeof bad, "%s/no/such", f->place->dir);
    assert_int_not_equal(
        RUN(&bk_cmd_init, "init", "--state", again, "--host", "h", "--external-ca", bad), 0);
    assert_int_not_equal(access(again, F_OK), 0);
    assert_int_not_equal(
        RUN(&bk_cmd_init, "init", "--state", again, "--host", "h", "--external-ca", again), 0);
    assert_int_not_equal(access(again, F_OK), 0);
}

/* A lost ca.key is an error where nobody said that it is kept elsewhere. */
static void test_lost_ca_key(void **state)
{
    struct fixture *f = *state;
    static struct bk_authority a;
    const char *which = "";
    char path[200];

    (void)snprintf(path, sizeof path, "%s/ca.key", f->dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(bk_authority_load(f->dir, now_s, &a, &which), BK_E_NOTFOUND);
    assert_string_equal(which, "ca.key");
}

/* ---- epochs ---- */

static size_t epochs(const struct fixture *f, uint16_t out[BK_SERVER_EPOCHS_MAX])
{
    struct bk_master_key keys[BK_SERVER_EPOCHS_MAX];
    size_t n = 0;

    assert_int_equal(bk_state_master_load(f->dir, keys, &n), BK_OK);
    for (size_t i = 0; i < n; i++) {
        out[i] = keys[i].epoch;
        for (size_t j = 0; j < i; j++) {
            assert_memory_not_equal(keys[i].key, keys[j].key, sizeof keys[i].key);
        }
    }
    return n;
}

static void test_epochs(void **state)
{
    struct fixture *f = *state;
    uint16_t e[BK_SERVER_EPOCHS_MAX];
    char path[200];
    struct stat st;

    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "retire", "1", "--state", f->dir), 1);
    for (unsigned i = 2; i <= 4; i++) {
        assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "new", "--state", f->dir), 0);
        assert_int_equal(epochs(f, e), i);
        assert_int_equal(e[0], i);
        assert_int_equal(e[i - 1], 1);
    }
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "new", "--state", f->dir), 1); /* four at most */
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "retire", "4", "--state", f->dir), 1);
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "retire", "5", "--state", f->dir), 1);
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "retire", "x", "--state", f->dir), 2);
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "retire", "--state", f->dir), 2);
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "list", "1", "--state", f->dir), 2);
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "--state", f->dir), 2);
    assert_int_equal(epochs(f, e), 4);
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "retire", "2", "--state", f->dir), 0);
    assert_int_equal(epochs(f, e), 3);
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "list", "--state", f->dir), 0);
    /* 5 would stand in the place of 1, which is still accepted; so 6, in the place of 2. */
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "new", "--state", f->dir), 0);
    assert_int_equal(epochs(f, e), 4);
    assert_int_equal(e[0], 6);
    assert_int_equal(e[1], 4);
    (void)snprintf(path, sizeof path, "%s/master.keys", f->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXTERNAL(test_external_init),
        WITH(test_lost_ca_key),
        WITH(test_epochs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
