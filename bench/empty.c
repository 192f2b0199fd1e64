/* A program that does nothing: what memory any program costs. */
#include <unistd.h>

int main(void)
{
    return pause();
}
