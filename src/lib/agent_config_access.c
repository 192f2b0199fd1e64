/* agent.conf: who is let in to what, [access NAME], and where callers may have us dial, [callback]. A key that comes
 * again, or goes on in the next line, adds to its list. */
#include <string.h>

#include "lib/agent_config_private.h"
#include "lib/expiry.h"

bool bk_config_next_word(const char **list, struct bk_slice *out)
{
    const char *p = *list;
    size_t n;

    if (p == NULL) {
        return false;
    }
    p += strspn(p, " \t");
    n = strcspn(p, ",");
    *list = p[n] == ',' ? p + n + 1 : NULL;
    while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t')) {
        n--;
    }
    *out = bk_slice(p, n);
    return true;
}

/* The section's access, a new one if there is none yet; NULL: no name, or too many. */
static struct bk_access *access_named(struct bk_agent_config *config, const char *name)
{
    struct bk_slice text = bk_slice_text(name);
    struct bk_access *access;

    for (size_t i = 0; i < config->n_accesses; i++) {
        if (strcmp(config->accesses[i].name, name) == 0) {
            return &config->accesses[i];
        }
    }
    if (config->n_accesses == BK_AGENT_ACCESSES_MAX || !bk_name_valid(text)) {
        return NULL;
    }
    access = &config->accesses[config->n_accesses++];
    *access = (struct bk_access){.services = UINT64_MAX};
    (void)bk_slice_to_text(text, access->name, sizeof access->name);
    return access;
}

const char *bk_config_take_access(struct bk_agent_config *config, const char *name, const char *key,
                                  const char *value)
{
    struct bk_access *access = access_named(config, name);

    if (access == NULL) {
        return "not an access name (lower-case letters, digits, - _ .), or too many of them";
    }
    if (strcmp(key, "services") == 0) {
        access->listed = true;
        access->services = 0;
        return NULL;
    }
    if (strcmp(key, "expires") == 0) {
        return bk_expiry_parse(bk_slice_text(value), &access->expires_s) == BK_OK
                   ? NULL
                   : "not a date (2027-01-31) or a time in UTC (2027-01-31T12:00:00Z)";
    }
    return "unknown key";
}

const char *bk_config_take_services(struct bk_agent_config *config, const char *name,
                                    const char *value)
{
    struct bk_access *access = access_named(config, name);
    struct bk_slice word;

    if (access == NULL) { /* the file has changed between the two readings */
        return "not an access name";
    }
    while (bk_config_next_word(&value, &word)) {
        const struct bk_service *service = bk_service_find(config, word);

        if (service == NULL) {
            return "names a service that has no [service] section";
        }
        access->services |= UINT64_C(1) << (service - config->services);
    }
    return NULL;
}

const char *bk_config_take_callback(struct bk_agent_config *config, const char *key,
                                    const char *value)
{
    struct bk_prefix_list *list;
    struct bk_slice word;

    if (strcmp(key, "allow") == 0) {
        list = &config->allow;
    } else if (strcmp(key, "deny") == 0) {
        list = &config->deny;
    } else {
        return "unknown key";
    }
    while (bk_config_next_word(&value, &word)) {
        if (list->n == BK_POLICY_LIST_MAX) {
            return "more than 16 prefixes";
        }
        if (bk_prefix_parse(word, &list->at[list->n]) != BK_OK) {
            return "not a prefix (192.168.1.0/24, 2001:db8::/32)";
        }
        list->n++;
    }
    return NULL;
}
