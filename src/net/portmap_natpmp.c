/* Port mapping by NAT-PMP (RFC 6886), with libnatpmp. Waits in short steps, to be stopped in between. */
#include "net/portmap_internal.h"

#include <poll.h>
#include <string.h>

enum {
    WAIT_MS = 4000, /* for one answer; libnatpmp repeats after 250, 500, 1000, 2000 ms */
    UNMAP_MS = 2500,
    STEP_MS = 50,
};

static const char *words(int error)
{
    switch (error) {
    case NATPMP_ERR_CANNOTGETGATEWAY:
        return "no default gateway";
    case NATPMP_ERR_NOGATEWAYSUPPORT:
    case NATPMP_ERR_RECVFROM:
        return "the router does not speak it";
    case NATPMP_TRYAGAIN:
        return "no answer from the router";
    case NATPMP_ERR_NOTAUTHORIZED:
        return "the router does not allow mappings";
    case NATPMP_ERR_NETWORKFAILURE:
        return "router has no public address";
    case NATPMP_ERR_OUTOFRESOURCES:
        return "the router has no mapping to give";
    case NATPMP_ERR_UNSUPPORTEDVERSION:
    case NATPMP_ERR_UNSUPPORTEDOPCODE:
        return "the router speaks another version";
    default:
        return "no request could be sent to the router";
    }
}

enum question {
    ASK_ADDRESS,
    ASK_MAPPING,
    ASK_NO_MAPPING,
};

/* A slow router is asked again, and then answers twice: what comes may be late. */
static bool fits(const struct portmap_item *item, enum question question,
                 const natpmpresp_t *answer)
{
    if (question == ASK_ADDRESS) {
        return answer->type == NATPMP_RESPTYPE_PUBLICADDRESS;
    }
    return answer->type == NATPMP_RESPTYPE_TCPPORTMAPPING &&
           answer->pnu.newportmapping.privateport == item->local.port &&
           (answer->pnu.newportmapping.lifetime == 0) == (question == ASK_NO_MAPPING);
}

/* The answer to the request that was just sent: 0, or libnatpmp's error. */
static int await(struct portmap_job *job, const struct portmap_item *item, enum question question,
                 natpmpresp_t *answer)
{
    bool ending = question == ASK_NO_MAPPING;
    bk_time until = bk_time_add(bk_clock_mono(), (ending ? UNMAP_MS : WAIT_MS) * BK_MS);
    for (;;) {
        int err = readnatpmpresponseorretry(&job->natpmp, answer);
        bool late = err == 0 && !fits(item, question, answer);
        if (err != NATPMP_TRYAGAIN && !late) {
            if (err == 0) {
                bk_portmap_take_epoch(job, answer->epoch);
            }
            return err;
        }
        if (bk_clock_mono() >= until || (!ending && bk_portmap_stopping(job))) {
            return NATPMP_TRYAGAIN;
        }
        if (late) {
            job->natpmp.has_pending_request =
                1; /* libnatpmp takes any answer for the one awaited */
            continue;
        }
        struct pollfd in = {.fd = job->natpmp.s, .events = POLLIN};
        (void)poll(&in, 1, STEP_MS);
    }
}

/* A refusal is the router's word as well. */
static bool router_spoke(int err)
{
    return err == 0 || err == NATPMP_ERR_NOTAUTHORIZED || err == NATPMP_ERR_NETWORKFAILURE ||
           err == NATPMP_ERR_OUTOFRESOURCES;
}

static bool ask_address(struct portmap_job *job)
{
    natpmpresp_t answer;
    int err = sendpublicaddressrequest(&job->natpmp);
    err = err < 0 ? err : await(job, NULL, ASK_ADDRESS, &answer);
    if (router_spoke(err) && !job->there) {
        job->there = true;
        job->found_at = bk_clock_mono();
    }
    if (err != 0) {
        bk_portmap_say(job, words(err));
        return false;
    }
    uint8_t ip[4];
    memcpy(ip, &answer.pnu.publicaddress.addr, sizeof ip);
    struct bk_addr addr = bk_addr_v4(ip[0], ip[1], ip[2], ip[3], 0);
    return bk_portmap_take_address(job, &addr);
}

static bool find(struct portmap_job *job)
{
    in_addr_t gateway = 0;
    memcpy(&gateway, job->gateway.ip + 12, sizeof gateway);
    int err = initnatpmp(&job->natpmp, gateway != 0, gateway);
    if (err != 0) {
        bk_portmap_say(job, words(err));
        return false;
    }
    job->natpmp_open = true;
    return ask_address(job);
}

static bool map(struct portmap_job *job, struct portmap_item *item)
{
    if (item->held && !ask_address(job)) {
        return false;
    }
    natpmpresp_t answer;
    bool held = item->held;
    item->held = true; /* even if the answer is lost */
    int err = sendnewportmappingrequest(&job->natpmp, NATPMP_PROTOCOL_TCP, item->local.port,
                                        item->external_port, job->lease_wish_s);
    err = err < 0 ? err : await(job, item, ASK_MAPPING, &answer);
    if (err == 0 && answer.pnu.newportmapping.mappedpublicport == 0) {
        err = NATPMP_TRYAGAIN;
    }
    if (err != 0) {
        item->held = held || err == NATPMP_TRYAGAIN;
        bk_portmap_say(job, words(err));
        return false;
    }
    item->external_port = answer.pnu.newportmapping.mappedpublicport;
    item->external = job->outer;
    item->external.port = item->external_port;
    item->lease_s = answer.pnu.newportmapping.lifetime;
    return true;
}

static void unmap(struct portmap_job *job, struct portmap_item *item)
{
    natpmpresp_t answer;
    if (sendnewportmappingrequest(&job->natpmp, NATPMP_PROTOCOL_TCP, item->local.port, 0, 0) > 0) {
        (void)await(job, item, ASK_NO_MAPPING, &answer);
    }
}

static void leave(struct portmap_job *job)
{
    if (job->natpmp_open) {
        (void)closenatpmp(&job->natpmp);
        job->natpmp_open = false;
    }
}

const struct portmap_protocol bk_portmap_natpmp = {
    BK_PORTMAP_NATPMP, PORTMAP_MAPPING, find, map, unmap, leave};
