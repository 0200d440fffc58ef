// What works row by row: LayerNorm, softmax, bias and GELU. Words in, words out, floats between.
//
// All are bound by memory: each reads its row once from memory (again from L1 or L2) and writes it once. A warp has a
// row to itself, 4 rows a block, so that sums need shuffles only: no shared memory, no barrier.
#include "words.cuh"

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
    for (int gap = 16; gap > 0; gap /= 2) v += __shfl_xor_sync(0xffffffffu, v, gap);
    return v;
}

__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
    for (int gap = 16; gap > 0; gap /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, gap));
    return v;
}

// (x - mean) / sqrt(var + eps) · gamma + beta over `cols`, then GELU if asked. Statistics in two passes:
// E[x²] - E[x]² (candle's) cancels where a mean is large.
template <typename In, typename Out>
__device__ void layer_norm(const typename In::Word *__restrict__ x, const float *__restrict__ gamma,
                           const float *__restrict__ beta, typename Out::Word *__restrict__ y, unsigned int rows,
                           unsigned int cols, float eps, unsigned int act) {
    unsigned int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    x += (unsigned long long)row * cols, y += (unsigned long long)row * cols;
    float sum = 0.0f, squares = 0.0f;
    for (unsigned int i = lane; i < cols; i += 32) sum += In::load(x[i]);
    float mean = warp_sum(sum) / cols;
    for (unsigned int i = lane; i < cols; i += 32) {
        float v = In::load(x[i]) - mean;
        squares += v * v;
    }
    float scale = 1.0f / sqrtf(warp_sum(squares) / cols + eps);
    for (unsigned int i = lane; i < cols; i += 32) {
        float v = (In::load(x[i]) - mean) * scale * gamma[i] + beta[i];
        y[i] = Out::store(act ? gelu(v) : v);
    }
}

const int BATCH = 128; // rows of a batch in one launch

struct Lengths {
    unsigned int at[BATCH];
};

// Softmax of scale · x, f32 scores, over the first lengths[row / per] of `cols` keys; the others get 0, and so does all of a row
// without a key.
template <typename T>
__device__ void softmax(const float *__restrict__ x, typename T::Word *__restrict__ y,
                        const Lengths &lengths, unsigned int rows, unsigned int cols, unsigned int per, float scale) {
    unsigned int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    unsigned int keys = lengths.at[row / per];
    x += (unsigned long long)row * cols, y += (unsigned long long)row * cols;
    float top = __uint_as_float(0xff800000u), sum = 0.0f; // -infinity
    for (unsigned int i = lane; i < keys; i += 32) top = fmaxf(top, scale * x[i]);
    top = warp_max(top);
    for (unsigned int i = lane; i < keys; i += 32) sum += expf(scale * x[i] - top);
    float part = 1.0f / warp_sum(sum);
    for (unsigned int i = lane; i < cols; i += 32)
        y[i] = T::store(i < keys ? expf(scale * x[i] - top) * part : 0.0f);
}

// y = act(y + bias) in place, (rows, cols).
template <typename T>
__device__ void bias_act(typename T::Word *__restrict__ y, const float *__restrict__ bias, unsigned int rows,
                         unsigned int cols, unsigned int act) {
    unsigned long long all = (unsigned long long)rows * cols, step = (unsigned long long)blockDim.x * gridDim.x;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < all; i += step) {
        float v = T::load(y[i]) + bias[i % cols];
        y[i] = T::store(act ? gelu(v) : v);
    }
}

#define LAYER_NORM(NAME, In, Out)                                                                                      \
    extern "C" __global__ void NAME(const In::Word *x, const float *gamma, const float *beta, Out::Word *y,            \
                                    unsigned int rows, unsigned int cols, float eps, unsigned int act) {               \
        layer_norm<In, Out>(x, gamma, beta, y, rows, cols, eps, act);                                                  \
    }
LAYER_NORM(layer_norm_f32_f32, F32, F32)
LAYER_NORM(layer_norm_f32_f16, F32, F16)
LAYER_NORM(layer_norm_f32_bf16, F32, BF16)
LAYER_NORM(layer_norm_f16_f16, F16, F16)
LAYER_NORM(layer_norm_bf16_bf16, BF16, BF16)

#define EACH(NAME, T)                                                                                                  \
    extern "C" __global__ void softmax_##NAME(const float *x, T::Word *y, const __grid_constant__ Lengths lengths,     \
                                              unsigned int rows, unsigned int cols, unsigned int per, float scale) {   \
        softmax<T>(x, y, lengths, rows, cols, per, scale);                                                             \
    }                                                                                                                  \
    extern "C" __global__ void bias_act_##NAME(T::Word *y, const float *bias, unsigned int rows, unsigned int cols,    \
                                               unsigned int act) {                                                     \
        bias_act<T>(y, bias, rows, cols, act);                                                                         \
    }
EACH(f32, F32)
EACH(f16, F16)
EACH(bf16, BF16)
