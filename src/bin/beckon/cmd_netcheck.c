/* beckon netcheck: what the network here allows, and what it means for a call. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

#include "bin/beckon/command.h"

static const char *or_dash(const char *text)
{
    return text[0] == '\0' ? "-" : text;
}

static void print_server(const struct beckon_netcheck *r)
{
    printf("server         %s: ", r->server_name);
    if (r->server) {
        printf("reached, round trip %u ms\n", r->server_ms);
        printf("TCP            %s here, %s there\n", r->tcp_local, r->tcp_seen);
    } else {
        printf("not reached: %s\n", r->server_reason);
    }
}

static void print_udp(const struct beckon_netcheck *r)
{
    if (!r->udp) {
        printf("UDP            %s\n", r->server ? "no answer" : "not asked");
        return;
    }
    printf("UDP            %s here, %s there%s", r->udp_local, or_dash(r->udp_seen),
           r->port_preserved ? ", port preserved" : "");
    if (r->udp_ms != 0) {
        printf(", round trip %u ms", r->udp_ms);
    }
    printf("\nmapping        %s\nfiltering      %s\nhairpin        %s\n", r->mapping, r->filtering,
           r->hairpin);
}

static void print_mappings(const struct beckon_netcheck *r)
{
    for (size_t i = 0; i < BECKON_NETCHECK_MAPPINGS; i++) {
        const struct beckon_netcheck_mapping *m = &r->mappings[i];

        printf("%-14s ", or_dash(m->protocol));
        if (!m->there) {
            printf("%s\n", or_dash(m->reason));
            continue;
        }
        printf("there after %u ms", m->ms);
        if (m->version[0] != '\0') {
            printf(", version %s", m->version);
        }
        if (m->outer[0] != '\0') {
            printf(", outside %s", m->outer);
        }
        printf("%s%s%s\n", m->pinholes ? ", IPv6 pinholes" : "", m->reason[0] != '\0' ? "; " : "",
               m->reason);
    }
}

static void print_text(const struct beckon_netcheck *r)
{
    for (size_t i = 0; i < r->n_hosts; i++) {
        printf("%-14s %s\n", i == 0 ? "this host" : "", r->hosts[i]);
    }
    print_server(r);
    print_udp(r);
    print_mappings(r);
    printf("relay          %s", r->relay[0] == '\0' ? "none offered" : r->relay);
    if (r->relayed[0] != '\0') {
        printf(": gives %s", r->relayed);
    } else if (r->relay_reason[0] != '\0') {
        printf(": %s", r->relay_reason);
    }
    puts("\n\nFor a call from here:");
    for (size_t i = 0; i < r->n_advice; i++) {
        printf("  %s\n", r->advice[i]);
    }
}

static void add_text(cJSON *to, const char *key, const char *text)
{
    if (text[0] == '\0') {
        cJSON_AddNullToObject(to, key);
    } else {
        cJSON_AddStringToObject(to, key, text);
    }
}

static void add_server(cJSON *root, const struct beckon_netcheck *r)
{
    cJSON *server = cJSON_AddObjectToObject(root, "server");

    cJSON_AddStringToObject(server, "name", r->server_name);
    cJSON_AddBoolToObject(server, "reached", r->server);
    add_text(server, "reason", r->server_reason);
    cJSON_AddNumberToObject(server, "round_trip_ms", r->server_ms);
    add_text(server, "local", r->tcp_local);
    add_text(server, "seen", r->tcp_seen);
}

static void add_udp(cJSON *root, const struct beckon_netcheck *r)
{
    cJSON *udp = cJSON_AddObjectToObject(root, "udp");

    cJSON_AddBoolToObject(udp, "answered", r->udp);
    add_text(udp, "local", r->udp_local);
    add_text(udp, "seen", r->udp_seen);
    cJSON_AddNumberToObject(udp, "round_trip_ms", r->udp_ms);
    cJSON_AddBoolToObject(udp, "port_preserved", r->port_preserved);
    add_text(udp, "mapping", r->mapping);
    add_text(udp, "filtering", r->filtering);
    add_text(udp, "hairpin", r->hairpin);
}

static void add_mappings(cJSON *root, const struct beckon_netcheck *r)
{
    cJSON *list = cJSON_AddArrayToObject(root, "port_mapping");

    for (size_t i = 0; i < BECKON_NETCHECK_MAPPINGS; i++) {
        const struct beckon_netcheck_mapping *m = &r->mappings[i];
        cJSON *row = cJSON_CreateObject();

        cJSON_AddStringToObject(row, "protocol", m->protocol);
        cJSON_AddBoolToObject(row, "there", m->there);
        add_text(row, "version", m->version);
        add_text(row, "outer", m->outer);
        cJSON_AddBoolToObject(row, "pinholes", m->pinholes);
        cJSON_AddNumberToObject(row, "ms", m->ms);
        add_text(row, "reason", m->reason);
        cJSON_AddItemToArray(list, row);
    }
}

static bool print_json(const struct beckon_netcheck *r)
{
    cJSON *root = cJSON_CreateObject();
    cJSON *hosts = cJSON_AddArrayToObject(root, "hosts");
    cJSON *relay, *advice;
    char *text;

    for (size_t i = 0; i < r->n_hosts; i++) {
        cJSON_AddItemToArray(hosts, cJSON_CreateString(r->hosts[i]));
    }
    cJSON_AddBoolToObject(root, "public_ipv4", r->public_v4);
    cJSON_AddBoolToObject(root, "public_ipv6", r->public_v6);
    add_server(root, r);
    add_udp(root, r);
    add_mappings(root, r);
    relay = cJSON_AddObjectToObject(root, "relay");
    add_text(relay, "address", r->relay);
    add_text(relay, "relayed", r->relayed);
    add_text(relay, "reason", r->relay_reason);
    advice = cJSON_AddArrayToObject(root, "for_a_call");
    for (size_t i = 0; i < r->n_advice; i++) {
        cJSON_AddItemToArray(advice, cJSON_CreateString(r->advice[i]));
    }
    text = cJSON_Print(root);
    if (text != NULL) {
        puts(text);
    }
    cJSON_free(text);
    cJSON_Delete(root);
    return text != NULL;
}

int cmd_netcheck(int argc, char **argv)
{
    static struct beckon_netcheck report;
    struct call_options options = {0};
    struct beckon_client *client;
    struct beckon_error error;
    enum beckon_status status;
    int n_rest;

    if (!call_options_read(argc, argv, &options, NULL, &n_rest)) {
        return BECKON_USAGE;
    }
    if (n_rest != 0) {
        return bk_usage("beckon", "netcheck takes no arguments");
    }
    status = client_open(&options, NULL, &client);
    if (status != BECKON_OK) {
        return (int)status;
    }
    status = beckon_client_netcheck(client, &report, &error);
    if (status == BECKON_OK && !options.json) {
        print_text(&report);
    } else if (status == BECKON_OK && !print_json(&report)) {
        status = BECKON_FAILED;
        error = (struct beckon_error){status, "no memory to print the result"};
    }
    return client_close(client, status, &error, false);
}
