-- A tour on real data: sentence embeddings of the descriptions of 6,000 Debian packages, and 8 x 8 images of digits.
-- Run from the repository's root:  cargo run -p hyperslab-cli -- demo.slab -f examples/demo.sql

-- A file becomes an array of the store.
CREATE OR REPLACE TABLE embeddings AS SELECT * FROM 'examples/data/packages.npy';
CREATE OR REPLACE TABLE digits AS SELECT * FROM 'examples/data/digits.npy';
SELECT * FROM arrays();

-- The five packages nearest to PostgreSQL, joined with the file that holds their names.
SELECT p.name, round(t.score, 3) AS score, p.description
FROM top_k('embeddings',
           (SELECT value FROM embeddings e JOIN 'examples/data/packages.csv' q ON q.id = e.row
            WHERE q.name = 'postgresql'),
           5) t
JOIN 'examples/data/packages.csv' p ON p.id = t.row
ORDER BY t.rank;

-- NumPy's slices: rows 10 to 19, every 64th dimension; the middle of two images.
SELECT * FROM slice('embeddings', '10:13, ::64');
SELECT * FROM slice('digits', '0:2, 2:6, 2:6');

-- Positions are an ordinary column: ranges and joins on it read only the rows that they need.
SELECT count(*) AS images, min(label.value) AS least, max(label.value) AS most
FROM digits JOIN 'examples/data/digits_labels.npy' label ON label.row = digits.row
WHERE digits.row BETWEEN 100 AND 199;

-- Arrays go out to files, and files are appended to arrays.
COPY (SELECT value FROM slice('embeddings', '0:100')) TO 'demo/more.npy' OPTIONS (overwrite true);
SELECT * FROM append('embeddings', 'demo/more.npy');
COPY embeddings TO 'demo/embeddings.parquet' OPTIONS (overwrite true);
SELECT count(*) FROM 'demo/embeddings.parquet';
