/* A layer with no source yet. */
typedef int beckon_empty;
