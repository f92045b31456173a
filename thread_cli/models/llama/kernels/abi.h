/* The part of ggml's binary interface that the kernels rely on, as it is in the releases that `kernels.py` names.
 *
 * The functions are exported by libggml. The structures are ggml's own: those of `ggml_tensor` are public, those of
 * backends are not, and may change from release to release without a word. Numbers of operations are not relied on: they
 * are looked up by name. */
#ifndef THREAD_ABI_H
#define THREAD_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TYPE_F32 = 0, TYPE_F16 = 1, TYPE_I32 = 26, TYPE_I64 = 27 };
enum { OPERATIONS = 101, API_VERSION = 2, DEVICE_ACCEL = 3 };
enum { STATUS_ALLOC_FAILED = -2, STATUS_FAILED = -1, STATUS_SUCCESS = 0 };
enum { FLAG_OUTPUT = 2 };
enum { GLU_GEGLU = 1, GLU_SWIGLU = 2, UNARY_TANH = 4 };

typedef struct buffer buffer;
typedef struct buffer_type buffer_type;
typedef struct device device;
typedef struct backend backend;
typedef struct registry registry;
typedef struct graph graph;

typedef struct tensor {
    int type;
    buffer *buffer;
    int64_t ne[4]; /* elements of each dimension, the innermost first */
    size_t nb[4];  /* bytes from one to the next */
    int op;
    int32_t op_params[16];
    int32_t flags;
    struct tensor *src[10];
    struct tensor *view_src;
    size_t view_offs;
    char *data;
    char name[64];
    void *extra;
    char padding[8];
} tensor;

typedef struct {
    const char *(*get_name)(buffer_type *);
    buffer *(*alloc_buffer)(buffer_type *, size_t);
    size_t (*get_alignment)(buffer_type *);
    size_t (*get_max_size)(buffer_type *);
    size_t (*get_alloc_size)(buffer_type *, const tensor *);
    bool (*is_host)(buffer_type *);
} buffer_type_i;

struct buffer_type {
    buffer_type_i iface;
    device *device;
    void *context;
};

typedef struct {
    void (*free_buffer)(buffer *);
    void *(*get_base)(buffer *);
    int (*init_tensor)(buffer *, tensor *);
    void (*memset_tensor)(buffer *, tensor *, uint8_t, size_t, size_t);
    void (*set_tensor)(buffer *, tensor *, const void *, size_t, size_t);
    void (*get_tensor)(buffer *, const tensor *, void *, size_t, size_t);
    void *set_tensor_2d;
    void *get_tensor_2d;
    bool (*cpy_tensor)(buffer *, const tensor *, tensor *);
    void (*clear)(buffer *, uint8_t);
    void (*reset)(buffer *);
} buffer_i;

struct buffer {
    buffer_i iface;
    buffer_type *buft;
    void *context;
    size_t size;
    int usage;
};

typedef struct {
    const char *(*get_name)(backend *);
    void (*free)(backend *);
    void *transfers[5];
    void *synchronize;
    void *plans[4];
    int (*graph_compute)(backend *, graph *);
    void *events[2];
    void *graph_optimize;
} backend_i;

struct backend {
    void *guid;
    backend_i iface;
    device *device;
    void *context;
};

typedef struct {
    const char *name;
    const char *description;
    size_t memory_free;
    size_t memory_total;
    int type;
    const char *device_id;
    bool async, host_buffer, buffer_from_host_ptr, events, mmap_support;
} device_props;

typedef struct {
    const char *(*get_name)(device *);
    const char *(*get_description)(device *);
    void (*get_memory)(device *, size_t *, size_t *);
    int (*get_type)(device *);
    void (*get_props)(device *, device_props *);
    backend *(*init_backend)(device *, const char *);
    buffer_type *(*get_buffer_type)(device *);
    buffer_type *(*get_host_buffer_type)(device *);
    buffer *(*buffer_from_host_ptr)(device *, void *, size_t, size_t);
    bool (*supports_op)(device *, const tensor *);
    bool (*supports_buft)(device *, buffer_type *);
    bool (*offload_op)(device *, const tensor *);
    void *events[3];
} device_i;

struct device {
    device_i iface;
    registry *reg;
    void *context;
};

struct registry {
    int api_version;
    struct {
        const char *(*get_name)(registry *);
        size_t (*get_device_count)(registry *);
        device *(*get_device)(registry *, size_t);
        void *(*get_proc_address)(registry *, const char *);
    } iface;
    void *context;
};

extern const char *ggml_op_name(int op);
extern int ggml_graph_n_nodes(graph *);
extern tensor *ggml_graph_node(graph *, int);
extern buffer *ggml_backend_buffer_init(buffer_type *, buffer_i, void *, size_t);
extern buffer_type *ggml_backend_cpu_buffer_type(void);
extern bool ggml_backend_buft_is_host(buffer_type *);

#endif
