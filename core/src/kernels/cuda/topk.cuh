// The mask of the largest scores by magnitude, without sorting: learning asks for one per weight and update.
//
// A key orders all n scores and is unique: 31 bits of |S| (as integers they order as the numbers do, NaN last), then 32
// of the index, so that of equal magnitudes the lower index is the smaller, as on the CPU. topk_count counts, of the
// keys that begin with `prefix`, how many have each value of the next at most 11 bits; from the counts the host knows
// which value the limit has there. Three counts reach the end of |S|; three more are needed only where equal
// magnitudes straddle the limit. topk_mask then compares.
//
// Traffic: 4 bytes a score for each count, 8 for the mask: 20 with three counts, at the speed of memory. Counting is in
// shared memory, one addition per score and, of scores that crowd one exponent, many to one place: there it is slower.

__device__ __forceinline__ unsigned long long key(const unsigned int *__restrict__ scores, unsigned int i) {
    return (unsigned long long)(scores[i] & 0x7fffffffu) << 32 | i;
}

// counts[v] += keys with key >> (shift + bits) = prefix and the `bits` bits above `shift` equal to v; bits ≤ 11.
extern "C" __global__ void topk_count(const unsigned int *__restrict__ scores, unsigned int *__restrict__ counts,
                                      unsigned int n, unsigned int shift, unsigned int bits,
                                      unsigned long long prefix) {
    __shared__ unsigned int here[2048];
    unsigned int values = 1u << bits;
    for (unsigned int v = threadIdx.x; v < values; v += blockDim.x) here[v] = 0;
    __syncthreads();
    unsigned long long step = (unsigned long long)blockDim.x * gridDim.x;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
        unsigned long long k = key(scores, i);
        if (k >> (shift + bits) == prefix) atomicAdd(&here[(unsigned int)(k >> shift) & (values - 1)], 1u);
    }
    __syncthreads();
    for (unsigned int v = threadIdx.x; v < values; v += blockDim.x)
        if (here[v]) atomicAdd(&counts[v], here[v]);
}

// 1 where the key is at least `limit`, else 0.
extern "C" __global__ void topk_mask(const unsigned int *__restrict__ scores, float *__restrict__ mask,
                                     unsigned int n, unsigned long long limit) {
    unsigned long long step = (unsigned long long)blockDim.x * gridDim.x;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step)
        mask[i] = key(scores, i) >= limit ? 1.0f : 0.0f;
}
