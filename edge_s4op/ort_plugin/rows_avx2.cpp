#if defined(__x86_64__)
#define S4OP_ISA kAvx2
#define S4OP_ISA_NAME "avx2"
#define S4OP_TARGET __attribute__((target("avx2,fma")))
#define S4OP_LANES 8
#define S4OP_TILE 6, 2
#define S4OP_NARROW_ROWS 12
#define S4OP_GROUP 48
#include "rows_impl.h"
#endif
