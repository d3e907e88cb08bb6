/* A CUDA driver without a GPU: device memory is host memory, work is done when it is put on a stream, and a
 * stream that is being captured collects work instead. Signatures are those of cuda.h.
 *
 * launchHost(stream, function, argument) stands for launching a kernel. Misuse ends in a nonzero status: no
 * current context, a handle that was freed, what is not allowed while capturing.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_CONTEXT = 201, INVALID_HANDLE = 400, CAPTURING = 900 };
enum { MAX_NODES = 16, MAGIC = 0x5eed };

typedef void (*Function)(void*);
typedef struct { Function function; void* argument; } Node;
typedef struct { int magic, count; Node nodes[MAX_NODES]; } Graph;
typedef struct { int magic; Graph* capture; } Stream;
typedef struct { int magic, recorded; double ms; } Event;

static int contexts;                /* retained */
static __thread void* stack[8];     /* of contexts, of the calling thread, as in CUDA; the top is current */
static __thread int depth;
static long alive;                  /* allocations, streams, events and graphs not yet freed */
static size_t budget = (size_t)-1;  /* device memory that can still be had */

static int usable(void) { return contexts > 0 && depth > 0 && stack[depth - 1] != NULL ? OK : NO_CONTEXT; }
#define NEEDS_CONTEXT if (usable() != OK) return NO_CONTEXT

long aliveObjects(void) { return alive; }
int retainedContexts(void) { return contexts; }
int stackDepth(void) { return depth; }
void setBudget(size_t bytes) { budget = bytes; }

int cuInit(unsigned flags) { return flags == 0 ? OK : INVALID_VALUE; }
int cuDriverGetVersion(int* version) { *version = 12060; return OK; }
int cuDeviceGetCount(int* count) { *count = getenv("FAKE_CUDA_NO_GPU") == NULL; return OK; }
int cuDeviceGet(int* device, int ordinal) { *device = ordinal; return OK; }
int cuDeviceTotalMem_v2(size_t* bytes, int device) { *bytes = (size_t)8 << 30; return device; }
int cuDeviceGetName(char* name, int length, int device) {
  strncpy(name, "Fake Orin", (size_t)length);
  return device;
}
int cuDeviceGetAttribute(int* value, int attribute, int device) {
  *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 16 ? 8 : -1;
  return device;
}
int cuGetErrorString(int status, const char** text) {
  *text = status == OUT_OF_MEMORY ? "out of memory" : status == CAPTURING ? "not while capturing" : "misuse";
  return OK;
}

static unsigned waiting;
int cuDevicePrimaryCtxSetFlags_v2(int device, unsigned flags) { waiting = flags; return device; }
int cuDevicePrimaryCtxGetState(int device, unsigned* flags, int* active) {
  *flags = waiting | 8; /* a flag that has nothing to do with waiting */
  *active = contexts > 0;
  return device;
}
int cuDevicePrimaryCtxRetain(void** context, int device) {
  static int primary;
  *context = &primary;
  ++contexts;
  return device;
}
int cuDevicePrimaryCtxRelease_v2(int device) { --contexts; return device; }
int cuCtxSetCurrent(void* context) {
  if (depth == 0) depth = 1;
  stack[depth - 1] = context;
  return OK;
}
int cuCtxPushCurrent_v2(void* context) {
  if (depth == 8) return INVALID_VALUE;
  stack[depth++] = context;
  return OK;
}
int cuCtxPopCurrent_v2(void** context) {
  if (depth == 0) return NO_CONTEXT;
  *context = stack[--depth];
  return OK;
}

static void* make(size_t size) { ++alive; return calloc(1, size); }
static int drop(void* object) { --alive; *(int*)object = 0; free(object); return OK; }

int cuStreamCreate(Stream** stream, unsigned flags) {
  NEEDS_CONTEXT;
  *stream = make(sizeof(Stream));
  (*stream)->magic = MAGIC;
  return flags == 1 ? OK : INVALID_VALUE;
}
int cuStreamDestroy_v2(Stream* stream) { NEEDS_CONTEXT; return drop(stream); }
int cuStreamSynchronize(Stream* stream) { NEEDS_CONTEXT; return stream->capture ? CAPTURING : OK; }

int fake_blocking_events;  /* made so that who waits for them sleeps */
int cuEventCreate(Event** event, unsigned flags) {
  NEEDS_CONTEXT;
  fake_blocking_events += flags == 1;
  *event = make(sizeof(Event));
  (*event)->magic = MAGIC;
  return flags <= 1 ? OK : INVALID_VALUE;
}
int cuEventDestroy_v2(Event* event) { NEEDS_CONTEXT; return drop(event); }
int cuEventRecord(Event* event, Stream* stream) {
  struct timespec now;
  NEEDS_CONTEXT;
  if (stream->magic != MAGIC || event->magic != MAGIC) return INVALID_HANDLE;
  clock_gettime(CLOCK_MONOTONIC, &now);
  event->recorded = 1;
  event->ms = (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
  return OK;
}
int cuEventSynchronize(Event* event) { NEEDS_CONTEXT; return event->recorded ? OK : INVALID_HANDLE; }
int cuEventElapsedTime(float* ms, Event* began, Event* ended) {
  NEEDS_CONTEXT;
  if (!began->recorded || !ended->recorded) return INVALID_HANDLE;
  *ms = (float)(ended->ms - began->ms);
  return OK;
}
int cuEventElapsedTime_v2(float* ms, Event* began, Event* ended) { return cuEventElapsedTime(ms, began, ended); }

int cuMemAlloc_v2(uint64_t* pointer, size_t size) {
  NEEDS_CONTEXT;
  if (size > budget) return OUT_OF_MEMORY;
  *pointer = (uint64_t)(uintptr_t)make(size + sizeof(int));
  return OK;
}
int cuMemFree_v2(uint64_t pointer) { NEEDS_CONTEXT; return drop((void*)(uintptr_t)pointer); }
int cuMemHostAlloc(void** pointer, size_t size, unsigned flags) {
  NEEDS_CONTEXT;
  *pointer = make(size + sizeof(int));
  return flags == 0 ? OK : INVALID_VALUE;
}
int cuMemFreeHost(void* pointer) { NEEDS_CONTEXT; return drop(pointer); }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t size, Stream* stream) {
  NEEDS_CONTEXT;
  if (stream->magic != MAGIC) return INVALID_HANDLE;
  memcpy((void*)(uintptr_t)to, from, size);
  return stream->capture ? CAPTURING : OK; /* ours are never captured */
}
int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t size, Stream* stream) {
  NEEDS_CONTEXT;
  if (stream->magic != MAGIC) return INVALID_HANDLE;
  memcpy(to, (const void*)(uintptr_t)from, size);
  return stream->capture ? CAPTURING : OK;
}

int launchHost(Stream* stream, Function function, void* argument) {
  NEEDS_CONTEXT;
  if (stream->magic != MAGIC) return INVALID_HANDLE;
  if (stream->capture == NULL) {
    function(argument);
  } else {
    if (stream->capture->count == MAX_NODES) return OUT_OF_MEMORY;
    stream->capture->nodes[stream->capture->count++] = (Node){function, argument};
  }
  return OK;
}
int isCapturing(Stream* stream) { return stream->capture != NULL; }

int cuStreamBeginCapture_v2(Stream* stream, int mode) {
  NEEDS_CONTEXT;
  if (stream->capture != NULL || mode != 1) return INVALID_VALUE;
  stream->capture = make(sizeof(Graph));
  stream->capture->magic = MAGIC;
  return OK;
}
int cuStreamEndCapture(Stream* stream, Graph** graph) {
  NEEDS_CONTEXT;
  *graph = stream->capture;
  stream->capture = NULL;
  return *graph == NULL ? INVALID_VALUE : OK;
}
int cuGraphInstantiateWithFlags(Graph** executable, Graph* graph, unsigned long long flags) {
  NEEDS_CONTEXT;
  *executable = make(sizeof(Graph));
  **executable = *graph;
  return flags == 0 && graph->count > 0 ? OK : INVALID_VALUE;
}
int cuGraphLaunch(Graph* executable, Stream* stream) {
  NEEDS_CONTEXT;
  if (executable->magic != MAGIC || stream->magic != MAGIC) return INVALID_HANDLE;
  for (int i = 0; i < executable->count; ++i) executable->nodes[i].function(executable->nodes[i].argument);
  return OK;
}
int cuGraphExecDestroy(Graph* executable) { NEEDS_CONTEXT; return drop(executable); }
int cuGraphDestroy(Graph* graph) { NEEDS_CONTEXT; return drop(graph); }
