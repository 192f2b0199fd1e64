/* libbeckon: reach equipment behind NAT by calling it.
 *
 * Two sides. An agent runs on the device: it keeps one small registration alive at a server, and when
 * somebody calls, checks the request and dials the caller. A client calls a device and carries
 * connections to the services that the device offers, end to end encrypted; the server introduces the
 * two and sees nothing else; where they cannot meet otherwise, its relay passes on what they have sealed.
 *
 * Functions return an enum beckon_status; where one takes a struct beckon_error, it is filled with a
 * line for people whenever the status is not BECKON_OK. Objects are opaque and not thread-safe: one
 * thread at a time, except for the two _stop functions, which may be called from any thread and from
 * signal handlers. Strings handed in are copied. The header is C99 and C++-safe.
 *
 * The library is one archive: `cc program.c $(pkg-config --cflags --libs beckon)`. With -Wl,--as-needed a
 * program that uses only the idle part of an agent is linked with neither OpenSSL nor nghttp2. It keeps
 * SIGPIPE out of sockets, but the descriptors given to it may be pipes: ignore that signal. */
#ifndef BECKON_BECKON_H
#define BECKON_BECKON_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BECKON_API __attribute__((visibility("default")))
#else
#define BECKON_API
#endif

#define BECKON_VERSION "0.1.0"

/* Results, and the exit statuses of the programs. */
enum beckon_status {
    BECKON_OK = 0,
    BECKON_FAILED = 1,         /* none of the following */
    BECKON_USAGE = 2,          /* the arguments make no sense */
    BECKON_UNKNOWN_DEVICE = 3, /* no such device, or not granted to this user */
    BECKON_OFFLINE = 4,        /* the device does not answer the server */
    BECKON_REFUSED = 5,        /* password wrong or key unknown, or too many such tries lately */
    BECKON_NO_PATH = 6,        /* none of the ways to meet worked, a relay neither */
    BECKON_NO_MAPPING = 7,     /* no address at which the device could come, and no relay */
    BECKON_SERVER_DOWN = 8,    /* the server cannot be reached, or is not ours */
    BECKON_BAD_TOKEN = 9,      /* join token malformed, unknown or expired */
    BECKON_USED_TOKEN = 10,    /* join token already used */
    BECKON_KEY_CHANGED = 11,   /* the device's key is not the pinned one, or not accepted */
    BECKON_BAD_CONFIG = 12,    /* a configuration or state file is malformed */
    BECKON_REVOKED = 13,       /* device or user revoked */
    BECKON_NO_SERVICE = 14,    /* the device offers no such service, or cannot reach it */
    BECKON_NOT_JOINED = 15,    /* the state directory has no identity yet */
    BECKON_BUSY = 16,          /* server or device has too much to do now */
    BECKON_INTERRUPTED = 17,   /* stopped by beckon_client_stop */
    BECKON_PENDING = 18,       /* the operator has yet to sign the certificate; ask again */
};

enum {
    BECKON_ERROR_TEXT_BYTES = 512,
};

struct beckon_error {
    enum beckon_status status;
    char text[BECKON_ERROR_TEXT_BYTES]; /* one line: what happened; what to do */
};

/* A short name of a status, such as "offline"; never NULL. */
BECKON_API const char *beckon_status_name(enum beckon_status status);

/* Something worth a line in a log, formatted. `level` 0 is important, 1 is progress (-v). */
typedef void (*beckon_log)(void *ctx, int level, const char *line);

/* ---- Agent: idle part. Links neither TLS nor HTTP/2. ------------------------------------------- */

struct beckon_agent;

struct beckon_agent_options {
    const char *state_dir;   /* from beckon_agent_join */
    const char *config_file; /* NULL: state_dir/agent.conf */
    /* The executable that calls beckon_agent_serve_call: started for every call, with the arguments
     * --state STATE_DIR [--config CONFIG_FILE] and the channel as descriptor 3. */
    const char *call_program;
    /* Non-zero, for a process that does nothing else: becomes the user that [agent] user names, and holds itself to
     * the system calls of an agent (seccomp), for good and with all that it starts. */
    int confined;
    beckon_log log;                /* may be NULL */
    void (*registered)(void *ctx); /* once, when the first registration stands; may be NULL */
    void *ctx;
};

/* Reads state and configuration. NOT_JOINED, BAD_CONFIG, FAILED. */
BECKON_API enum beckon_status beckon_agent_new(const struct beckon_agent_options *options,
                                               struct beckon_agent **out,
                                               struct beckon_error *error);
/* Serves until beckon_agent_stop; OK then. Calls that are up end with it. */
BECKON_API enum beckon_status beckon_agent_run(struct beckon_agent *agent,
                                               struct beckon_error *error);
BECKON_API void beckon_agent_stop(struct beckon_agent *agent);
BECKON_API void beckon_agent_free(struct beckon_agent *agent);

/* Sets a password that callers may give (1 to 128 bytes), kept as Argon2id: the device's own, or, with the name of an
 * [access NAME] section, that of those callers. `access` NULL: the device's own ("owner"). `config_file`, where that
 * section is, NULL: state_dir/agent.conf. */
BECKON_API enum beckon_status beckon_agent_set_password(const char *state_dir,
                                                        const char *config_file, const char *access,
                                                        const char *password, size_t length,
                                                        struct beckon_error *error);

/* ---- Agent: call part -------------------------------------------------------------------------- */

/* Takes one call over `channel`, the socket inherited from the idle part as descriptor 3, and returns
 * when it is over. For a process of its own, which it holds to what a call takes (seccomp). OK if a caller was
 * served. */
BECKON_API enum beckon_status beckon_agent_serve_call(int channel, const char *state_dir,
                                                      const char *config_file, beckon_log log,
                                                      void *ctx);

/* Keeps a TLS connection to the server, for a device that UDP does not carry: what comes over `channel`, the socket
 * inherited from the idle part as descriptor 3, goes there, and back. The idle part has this done by its call_program
 * with the arguments tunnel --state STATE_DIR [--config CONFIG_FILE]. For a process of its own, which it holds to what
 * a call takes (seccomp). Returns when either side ends. */
BECKON_API enum beckon_status beckon_agent_tunnel(int channel, const char *state_dir,
                                                  const char *config_file, beckon_log log,
                                                  void *ctx);

/* What the idle part has its call_program do besides, so that it need not carry what that takes; the channel is as
 * above, and the answer to it is one message. "sandbox": makes the system call filter that the parent process, the idle
 * part, takes upon itself. */
BECKON_API enum beckon_status beckon_agent_make_sandbox(int channel);
/* "resolve HOST PORT": looks the server's name up. For a process of its own, which it holds to what a call takes. */
BECKON_API enum beckon_status beckon_agent_resolve(int channel, const char *host, const char *port,
                                                   beckon_log log, void *ctx);

/* Makes keys, enrols with the server that the token names, and writes state and a first agent.conf.
 * Refuses a state directory that is joined already (FAILED). BAD_TOKEN, USED_TOKEN, SERVER_DOWN, BUSY, PENDING. */
BECKON_API enum beckon_status beckon_agent_join(const char *state_dir, const char *token,
                                                struct beckon_error *error);

/* Renews the box key and the registration key, and with `certificate` non-zero the certificate too; writes the state. The
 * idle part has this done by its call_program with the arguments renew [--certificate] [--time SECONDS] --state STATE_DIR
 * [--config CONFIG_FILE]. `seconds` is the time to go by, since 1970, in digits: the host's clock may be wrong; NULL: the
 * best that can be known; USAGE: that is no time before 2100. For a process of its own, which it holds to what this takes
 * (seccomp). OK also while a certificate waits to be signed. NOT_JOINED, BAD_CONFIG, REVOKED, SERVER_DOWN, BUSY, FAILED. */
BECKON_API enum beckon_status beckon_agent_renew(const char *state_dir, const char *config_file,
                                                 int certificate, const char *seconds,
                                                 struct beckon_error *error);

/* beckon://HOST/ID#FINGERPRINT, at most 400 bytes with terminator. NOT_JOINED, BAD_CONFIG. */
BECKON_API enum beckon_status beckon_agent_uri(const char *state_dir, char *out, size_t size,
                                               struct beckon_error *error);

/* ---- Client ------------------------------------------------------------------------------------ */

struct beckon_client;

struct beckon_client_options {
    const char *state_dir; /* from beckon_client_join */
    const char *listen;    /* "[ADDR]:PORT" to take the call on; NULL: any port */
    const char *advertise; /* "ADDR:PORT" that a mapping made by hand leads from, to the port of
                            * `listen`, which must be given too; NULL: find out */
    const char *paths;     /* "mapped,relayed" and the like: these kinds alone; NULL: all */
    int password_first;    /* give the password; do not sign with the caller's own key */
    int accept_new;        /* accept a device's key, or its name, at first contact without asking */
    /* Asked for the device's password when it is needed; writes at most `size` bytes and returns how
     * many, or -1 for none. */
    int (*password)(void *ctx, const char *device, char *out, size_t size);
    /* Asked at first contact whether this fingerprint is the device's; non-zero accepts. NULL: no.
     * `device` is for people to read: "2133", or "lamp (2133)" for one called by a new name. */
    int (*confirm)(void *ctx, const char *device, const char *fingerprint);
    beckon_log log;
    /* Told once a connection or listener stands (connect: the stream is open; forward: every listener
     * is bound, and the first call stands). May be NULL. */
    void (*ready)(void *ctx);
    void *ctx;
};

/* Makes a key, enrols with the server that the token names, and writes state. As beckon_agent_join. After
 * PENDING the same call goes on where this one ended. */
BECKON_API enum beckon_status beckon_client_join(const char *state_dir, const char *token,
                                                 struct beckon_error *error);

/* The caller's own key, as a line for a device's authorized_users ("KEY NAME"); made and kept in the state
 * directory if there is none yet. From then on calls are signed with it; where a device does not know it, its
 * password is asked for. NOT_JOINED, FAILED. */
BECKON_API enum beckon_status beckon_client_key(const char *state_dir, char *out, size_t size,
                                                struct beckon_error *error);

/* Takes a device's fingerprint from its beckon:// URI. USAGE for a malformed one, KEY_CHANGED if
 * another one is pinned, unless `replace` is non-zero: then that one is forgotten. */
BECKON_API enum beckon_status beckon_client_pin(const char *state_dir, const char *uri, int replace,
                                                struct beckon_error *error);

/* Reads state and configuration; connects nowhere. USAGE, NOT_JOINED, BAD_CONFIG, FAILED. The calls below renew the
 * certificate in passing once it is past half of its life. */
BECKON_API enum beckon_status beckon_client_new(const struct beckon_client_options *options,
                                                struct beckon_client **out,
                                                struct beckon_error *error);
/* Ends the function below that runs, which then returns INTERRUPTED. */
BECKON_API void beckon_client_stop(struct beckon_client *client);
/* Ends what is open and takes back port mappings. */
BECKON_API void beckon_client_free(struct beckon_client *client);

/* Calls a device (ID or name) and joins two descriptors to one of its services until both directions
 * have ended; the descriptors are used and closed. */
BECKON_API enum beckon_status beckon_client_connect(struct beckon_client *client,
                                                    const char *device, const char *service,
                                                    int in_fd, int out_fd,
                                                    struct beckon_error *error);

/* Listens on each "[ADDR:]PORT:SERVICE" (ADDR 127.0.0.1 by default) and carries every connection to
 * the service, over one call that is made anew when it was lost, until beckon_client_stop. "udp:[ADDR:]PORT:SERVICE"
 * is a UDP port for a UDP service: every sender has a stream of its own, until he has been silent for two minutes. */
BECKON_API enum beckon_status beckon_client_forward(struct beckon_client *client,
                                                    const char *device, const char *const *specs,
                                                    size_t n_specs, struct beckon_error *error);

/* The same with one SOCKS5 port, "[ADDR:]PORT": its clients name the service they want as the host to connect to; the port they
 * name does not count. */
BECKON_API enum beckon_status beckon_client_socks(struct beckon_client *client, const char *device,
                                                  const char *listen, struct beckon_error *error);

/* Where the time of a call went, in microseconds since its start; 0: did not happen. */
struct beckon_phases {
    uint64_t server_us;    /* TLS with the server stands */
    uint64_t found_us;     /* the device's certificate and key verified */
    uint64_t requested_us; /* the sealed request is out */
    uint64_t delivered_us; /* the device has it */
    uint64_t accepted_us;  /* and accepted the caller */
    uint64_t up_us;        /* the end-to-end session stands */
    char path
        [64]; /* the candidate that won: kind and address; the one in use now, if it was bettered */
};

/* How two ends meet; the lower, the better. */
enum beckon_path {
    BECKON_PATH_HOST = 1,    /* an address of the host itself */
    BECKON_PATH_MAPPED = 2,  /* granted by a router, or made by hand there */
    BECKON_PATH_PUNCHED = 3, /* both open at once, through both routers */
    BECKON_PATH_RELAYED = 4, /* by a relay, which sees no more of it than a router would */
};

/* "host", "mapped", "punched", "relayed"; never NULL. */
BECKON_API const char *beckon_path_name(enum beckon_path path);

enum beckon_outcome {
    BECKON_OUTCOME_PENDING,    /* nothing came of it yet */
    BECKON_OUTCOME_WON,        /* the call goes by it; a punched one: ours and the device's did */
    BECKON_OUTCOME_NOT_NEEDED, /* connected, but another was up first or is better */
    BECKON_OUTCOME_NO_CONNECTION, /* none came while the call looked for a path */
    BECKON_OUTCOME_FAILED,
    BECKON_OUTCOME_NOT_GATHERED, /* there is no such address */
    BECKON_OUTCOME_NOT_TRIED,
};

/* "won", "not needed" and the like; never NULL. */
BECKON_API const char *beckon_outcome_name(enum beckon_outcome outcome);

enum {
    BECKON_CANDIDATES_MAX = 32,
    BECKON_REASON_BYTES = 200,
};

/* One address by which the two might have met. Times as in struct beckon_phases. */
struct beckon_candidate {
    int ours; /* non-zero: where we can be reached; else the device */
    enum beckon_path kind;
    char address[64]; /* empty: there is none (NOT_GATHERED) */
    enum beckon_outcome outcome;
    char reason[BECKON_REASON_BYTES]; /* a phrase, or empty */
    uint64_t begun_us;                /* looked for (ours), or dialled */
    uint64_t known_us;                /* from when on it could be used; 0: never */
    uint64_t ended_us;                /* a connection stood, or it was given up */
};

struct beckon_report {
    struct beckon_phases phases;
    uint64_t ended_us; /* the call was over; 0: it is not */
    size_t n_candidates;
    struct beckon_candidate candidates[BECKON_CANDIDATES_MAX];
};

/* What became of the client's last call so far, failed or not. Several KB. */
BECKON_API void beckon_client_report(const struct beckon_client *client, struct beckon_report *out);

/* Calls a device and measures `count` round trips on the session, a second apart; `each` (may be NULL)
 * is told every one, with `ctx` of the client's options. */
BECKON_API enum beckon_status
beckon_client_ping(struct beckon_client *client, const char *device, unsigned count,
                   void (*each)(void *ctx, unsigned n, uint64_t rtt_us),
                   struct beckon_phases *phases, struct beckon_error *error);

/* What the network here allows. Texts are empty where nothing is known. */
struct beckon_netcheck_mapping {
    char protocol[16]; /* "PCP", "NAT-PMP", "UPnP-IGD" */
    int there;         /* a router speaks it */
    char version[16];
    char outer[64];   /* the address that it has outside, where it tells one */
    int pinholes;     /* it can let IPv6 in as well */
    unsigned ms;      /* until it answered */
    char reason[128]; /* why not, or why it is of no use */
};

enum {
    BECKON_NETCHECK_HOSTS_MAX = 16,
    BECKON_NETCHECK_MAPPINGS = 3,
    BECKON_NETCHECK_RELAYS_MAX = 4,
    BECKON_NETCHECK_ADVICE_MAX = 8,
    BECKON_NETCHECK_ADVICE_BYTES = 200,
};

struct beckon_netcheck {
    int server; /* non-zero: reached over TLS */
    char server_name[256];
    char server_reason[BECKON_REASON_BYTES]; /* why not */
    unsigned server_ms;                      /* round trip */
    char tcp_local[64], tcp_seen[64];        /* our connection to it, here and there */
    int udp;                                 /* non-zero: a datagram was answered */
    char udp_local[64], udp_seen[64];
    unsigned udp_ms;
    int port_preserved; /* UDP: the NAT kept the port */
    char mapping[48];   /* in the words of RFC 4787, section 4.1 */
    char filtering[48]; /* and 5 */
    char hairpin[16];   /* "yes", "no", "unknown" */
    size_t n_hosts;     /* addresses of this host, loopback and link-local left out */
    char hosts[BECKON_NETCHECK_HOSTS_MAX][64];
    int public_v4, public_v6; /* one of them is global */
    struct beckon_netcheck_mapping mappings[BECKON_NETCHECK_MAPPINGS];
    char relay[272];  /* HOST:PORT of the first relay that the server offers; empty: none */
    char relayed[64]; /* the address that it gave us for a moment */
    char relay_reason[BECKON_REASON_BYTES]; /* why none */
    size_t n_advice;                        /* what all this means for a call, one line each */
    char advice[BECKON_NETCHECK_ADVICE_MAX][BECKON_NETCHECK_ADVICE_BYTES];
};

/* Finds out, in some 5 to 10 s; calls nobody and leaves nothing behind. OK also where the server cannot be reached: then the
 * rest is told all the same. */
BECKON_API enum beckon_status beckon_client_netcheck(struct beckon_client *client,
                                                     struct beckon_netcheck *out,
                                                     struct beckon_error *error);

#ifdef __cplusplus
}
#endif

#endif
