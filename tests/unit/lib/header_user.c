/* Compiled as C99 and as C++: whatever a user of the library may name. */
#include <beckon/beckon.h>

int uses_all(struct beckon_error *error);

int uses_all(struct beckon_error *error)
{
    struct beckon_client_options options = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

    return (int)error->status + (options.state_dir == 0) + (beckon_status_name(BECKON_OK) == 0) +
           (beckon_path_name(BECKON_PATH_HOST) == 0) +
           (beckon_outcome_name(BECKON_OUTCOME_WON) == 0);
}
