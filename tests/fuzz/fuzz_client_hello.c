/* The server name of a ClientHello: whatever comes, nothing is read beyond it; what is read does not change with what
 * follows the record; and of a record that is not whole, more is waited for or nothing. */
#include "fuzz.h"
#include "net/client_hello.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char name[BK_CLIENT_HELLO_NAME_BYTES], again[BK_CLIENT_HELLO_NAME_BYTES];
    enum bk_err err = bk_client_hello_name(bk_slice(data, size), name);
    require(err == BK_OK || err == BK_E_TRUNCATED || err == BK_E_MALFORMED);
    require(strlen(name) < sizeof name && (err == BK_OK || name[0] == '\0'));
    if (size > 0) {
        enum bk_err cut = bk_client_hello_name(bk_slice(data, size - 1), again);
        require(cut == err || cut == BK_E_TRUNCATED);
        require(cut != BK_OK || strcmp(name, again) == 0);
    }
    require(err != BK_E_TRUNCATED || size < BK_CLIENT_HELLO_MAX_BYTES);
    return 0;
}
