#define S4OP_ISA kBase
#define S4OP_TARGET
#define S4OP_LANES 4
#if defined(__aarch64__)  // 32 registers
#define S4OP_ISA_NAME "neon"
#define S4OP_TILE 6, 4
#define S4OP_NARROW_ROWS 24
#elif defined(__x86_64__)  // 16
#define S4OP_ISA_NAME "sse2"
#define S4OP_TILE 6, 2
#define S4OP_NARROW_ROWS 12
#else
#define S4OP_ISA_NAME "generic"
#define S4OP_TILE 6, 2
#define S4OP_NARROW_ROWS 12
#endif
#define S4OP_GROUP 48
#include "rows_impl.h"
