import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vite'

// The server serves dist/app: index.html at the pages' addresses, the rest at /console/assets.
export default defineConfig({
  plugins: [svelte()],
  base: '/console/',
  build: { outDir: 'dist/app', emptyOutDir: true, modulePreload: false, assetsInlineLimit: 0, reportCompressedSize: true, cssCodeSplit: false, cssTarget: ['chrome123', 'firefox120', 'safari17.5'] },
})
