/* Telling whoever started us that we serve: a line on standard output, and systemd's notification. */
#ifndef BK_BIN_COMMON_READY_H
#define BK_BIN_COMMON_READY_H

#include "base/err.h"

/* Prints "ready", and sends READY=1 to NOTIFY_SOCKET if that is set (sd_notify(3)). BK_E_IO. */
BK_NODISCARD enum bk_err bk_ready_tell(void);

#endif
