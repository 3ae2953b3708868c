// How the page is built: hashed files below assets/, each with a packed copy beside it, into the package's folder.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';
import type { Plugin } from 'vite';

const PACKED = /\.(js|css|html|svg|json)$/;

function packed(): Plugin {
  let out = '';
  return {
    name: 'packed-copies',
    apply: 'build',
    configResolved(config) {
      out = config.build.outDir;
    },
    closeBundle() {
      for (const name of readdirSync(out, { recursive: true, encoding: 'utf8' })) {
        if (PACKED.test(name)) {
          const path = join(out, name);
          writeFileSync(`${path}.gz`, gzipSync(readFileSync(path), { level: 9 }));
        }
      }
    },
  };
}

export default defineConfig({
  base: '/dashboard/',
  plugins: [react(), packed()],
  build: {
    outDir: '../src/quicklime/services/monitor/page',
    emptyOutDir: true,
    target: 'es2022',
    // no data: scripts or styles, no inline anything: the server's policy refuses them
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 900,
  },
});
