/*
 * main: the program luamp. All of it is luamp_main, which the library exports, so that another
 * program can be luamp under another name.
 */
#include "luamp.h"

int
main(int argc, char **argv)
{
    return luamp_main(argc, argv);
}
