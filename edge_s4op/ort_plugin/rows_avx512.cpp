#if defined(__x86_64__)
#define S4OP_ISA kAvx512
#define S4OP_ISA_NAME "avx512"
#define S4OP_TARGET __attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma")))
#define S4OP_LANES 16
#define S4OP_TILE 4, 4
#define S4OP_NARROW_ROWS 16
#define S4OP_GROUP 32
#include "rows_impl.h"
#endif
