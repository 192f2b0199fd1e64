/* The user's certificate, renewed in passing before a call. Failing to renew it keeps nobody from calling: what comes
 * of a call with one that has expired, the server says. */
#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "lib/client.h"
#include "lib/fail.h"
#include "lib/renewal_exchange.h"

enum {
    RENEW_PAUSE_S = 3600, /* between tries of one program */
    RENEW_WAIT_MS = 1000, /* that a call may be held up for it */
};

bool bk_client_expired(const struct beckon_client *client)
{
    uint64_t now = bk_now_sample().unix_s, until;

    return now != 0 && bk_x509_not_after(client->state.own.cert, &until) == BK_OK && now >= until;
}

/* Readable after RENEW_WAIT_MS; -1: it cannot be had. */
static int short_wait(void)
{
    struct itimerspec wait = {.it_value = {.tv_sec = RENEW_WAIT_MS / 1000}};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

    if (fd >= 0 && timerfd_settime(fd, 0, &wait, NULL) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* One exchange with the first server that can be reached, given up once `stop_fd` is readable. */
static enum beckon_status exchange(const struct beckon_client *client, int stop_fd,
                                   struct bk_renewed *renewed, struct beckon_error *error)
{
    enum beckon_status status = bk_fail(error, BECKON_SERVER_DOWN, "no server is known");

    for (size_t i = 0; i < client->state.n_servers && status == BECKON_SERVER_DOWN; i++) {
        struct bk_renewal_order order = {.host = client->state.servers[i],
                                         .port = client->state.port,
                                         .own = &client->state.own,
                                         .certificate = true,
                                         .stop_fd = stop_fd};

        status = bk_renewal_exchange(&order, renewed, error);
    }
    return status;
}

static enum beckon_status renew(struct beckon_client *client, int stop_fd,
                                struct beckon_error *error)
{
    struct bk_renewed renewed = {0};
    enum beckon_status status = exchange(client, stop_fd, &renewed, error);

    if (status != BECKON_OK) {
        return status;
    }
    if (renewed.cert == NULL) {
        bk_renewed_fini(&renewed);
        return bk_fail(error, BECKON_PENDING,
                       "the operator has yet to sign our new certificate; ask for it");
    }
    if (bk_client_state_renewed(client->state_dir, &client->state, renewed.cert) != BK_OK) {
        bk_log(client->options.log, client->options.ctx, 0,
               "%s: the renewed certificate cannot be written (%s)", client->state_dir,
               strerror(errno));
    }
    renewed.cert = NULL;
    bk_renewed_fini(&renewed);
    bk_log(client->options.log, client->options.ctx, 1, "our certificate was renewed");
    return BECKON_OK;
}

static void tell_failure(struct beckon_client *client, const char *since, const char *why)
{
    bk_log(client->options.log, client->options.ctx, 1,
           "our certificate %s and was not renewed: %s", since, why);
}

/* Only this could help the call, so it may take its time. */
static enum beckon_status renew_expired(struct beckon_client *client, struct beckon_error *error)
{
    enum beckon_status status = renew(client, client->stop.fd, error);

    switch ((int)status) {
    case BECKON_OK:
    case BECKON_INTERRUPTED:
    case BECKON_PENDING:
    case BECKON_REVOKED:
        return status;
    default:
        tell_failure(client, "has expired", error->text);
        return BECKON_OK;
    }
}

enum beckon_status bk_client_renew(struct beckon_client *client, struct beckon_error *error)
{
    struct bk_now now = bk_now_sample();
    struct beckon_error why;
    int wait;

    if (!bk_certificate_is_old(client->state.own.cert, now.unix_s)) {
        return BECKON_OK;
    }
    if (bk_client_expired(client)) {
        return renew_expired(client, error);
    }
    if (client->renewal_tried && now.mono < client->renewal_again) {
        return BECKON_OK;
    }
    client->renewal_tried = true;
    client->renewal_again = bk_time_add(now.mono, RENEW_PAUSE_S * BK_SECOND);
    wait = short_wait();
    if (wait < 0) {
        return BECKON_OK;
    }
    if (renew(client, wait, &why) != BECKON_OK) {
        tell_failure(client, "is past half of its life",
                     why.status == BECKON_INTERRUPTED ? "the server takes too long" : why.text);
    }
    close(wait);
    return BECKON_OK;
}
