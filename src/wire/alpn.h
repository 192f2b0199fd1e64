/* The protocol names (ALPN, RFC 7301) of our TLS connections: each says which role speaks; and the server
 * names of calls. */
#ifndef BK_WIRE_ALPN_H
#define BK_WIRE_ALPN_H

#define BK_ALPN_REQUEST "beckon-request/1" /* requester to server: a user's certificate */
#define BK_ALPN_AGENT "beckon-agent/1"     /* agent to server: a device's certificate */
#define BK_ALPN_JOIN "beckon-join/1"       /* enrolment: no certificate yet */
#define BK_ALPN_RENEW "beckon-renew/1" /* RENEW: a certificate, which alone here may have expired */
#define BK_ALPN_WATCH "beckon-watch/1" /* WATCH: a device's certificate; lives as long as a call */
#define BK_ALPN_REGISTER                                                                           \
    "beckon-register/1" /* REGISTER and NOTIFY, where UDP is blocked: a device's certificate */
#define BK_ALPN_CALL "beckon-call/1" /* end to end, agent to requester */

/* What the TLS server name of a call ends in (lib/names.h): no host's. */
#define BK_CALL_NAME_SUFFIX ".call.invalid"

#endif
