/* Lists of the system calls that each program may make from now on; the kernel holds it to them (seccomp). What
 * happens at another call is told by docs/decisions/0009-what-a-refused-call-does.md.
 *
 * To be entered last of all preparations and before the first byte from outside is read: after
 * bk_privileges_drop, with sockets bound and listening, with libraries loaded that are loaded while running
 * (OPENSSL_init_ssl, for what openssl.cnf may name). There is no way back. A list holds for the programs started as
 * well, which can only narrow it further. */
#ifndef BK_NET_SANDBOX_H
#define BK_NET_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

struct sock_filter; /* <linux/filter.h> */

enum {
    BK_SANDBOX_WHY_BYTES = 200,
};

/* Each: BK_OK, or BK_E_STATE if this kernel has no such filters, or BK_E_NOMEM, BK_E_IO. `why` is then one line for
 * the log, and the program goes on without: the filter is a second wall, not the door. */

/* beckond run: accepts connections, reads and writes its state; starts nothing. */
BK_NODISCARD enum bk_err bk_sandbox_server(char *why, size_t why_bytes);

/* beckon-agent-call, for a call: connects, listens (to one port, once the call is accepted), reads files. Starts no
 * program, opens no file for writing and changes none. */
BK_NODISCARD enum bk_err bk_sandbox_agent_call(char *why, size_t why_bytes);

/* beckon-agent-call renew: as for a call, and writes its state. */
BK_NODISCARD enum bk_err bk_sandbox_agent_renew(char *why, size_t why_bytes);

/* beckon-agent run: may start programs, and its list must do for these. It does not carry libseccomp: another program
 * makes the filter for the process `who` and writes it to `fd`, in one piece. 0, or an errno. */
BK_NODISCARD int bk_sandbox_make_agent_idle(pid_t who, int fd);
/* Loads such a filter of `n` instructions, which must come from a program that we trust as ourselves. */
BK_NODISCARD enum bk_err bk_sandbox_load(struct sock_filter *instructions, size_t n, char *why,
                                         size_t why_bytes);
/* Whether this kernel has filters. */
BK_NODISCARD bool bk_sandbox_possible(void);
/* The line for the log, and what to return: `err` is an errno, or 0 if this kernel has no filters. */
enum bk_err bk_sandbox_say(int err, char *why, size_t why_bytes);

/* ---- What these are made of; for tests. ---- */

enum bk_sandbox_kind {
    BK_SANDBOX_SERVER,
    BK_SANDBOX_AGENT_IDLE,
    BK_SANDBOX_AGENT_CALL,
    BK_SANDBOX_AGENT_RENEW,
};

enum bk_sandbox_refusal {
    BK_SANDBOX_ERRNO, /* the call fails; what only an intruder calls ends the process */
    BK_SANDBOX_KILL,  /* the process ends by SIGSYS, whatever the call */
};

BK_NODISCARD enum bk_err bk_sandbox_enter(enum bk_sandbox_kind kind,
                                          enum bk_sandbox_refusal refusal, char *why,
                                          size_t why_bytes);

/* The instructions for the process `who`, written to `fd`. 0, or an errno. */
BK_NODISCARD int bk_sandbox_make(enum bk_sandbox_kind kind, enum bk_sandbox_refusal refusal,
                                 pid_t who, int fd);

#endif
