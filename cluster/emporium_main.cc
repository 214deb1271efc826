#include "cluster/verb.h"

int main(int argc, char** argv) { return emporium::cluster::Dispatch(argc, argv); }
