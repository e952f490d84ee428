// The chain begins three hours ago, so that its many quick blocks, a second apart, do not run into the future.
export default {
  networks: {
    node: { type: "edr-simulated", chainType: "l1", chainId: 31337, initialDate: new Date(Date.now() - 3 * 3600 * 1000) },
  },
};
